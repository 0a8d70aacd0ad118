"""Programs for tests: Perl and shell, which every Debian has, written where a test wants them."""

from __future__ import annotations

from pathlib import Path

from arint.command.service import CommandService, Setting
from arint.message import Message
from arint.resources.kinds import Service
from arint.sdk import Context

ECHO = r'''#!/usr/bin/perl
use strict; use warnings; use JSON::PP;
$| = 1;
my $json = JSON::PP->new->canonical->utf8;
while (my $line = <STDIN>) {
    my $request = $json->decode($line);
    my $body = $request->{body} // "";
    my %answer = (id => $request->{id});
    if ($request->{type} eq "hello") { }
    elsif ($body eq "reject") { $answer{error} =
        {kind => "WrongTax", message => "no such tax", reject => JSON::PP::true} }
    elsif ($body eq "fail") { $answer{error} = {kind => "Broken", message => "the ledger is closed"} }
    elsif ($body eq "later") { $answer{error} = {message => "at lunch", unavailable => JSON::PP::true,
                                                    retry_after => 2} }
    elsif ($body eq "keep") { }
    elsif ($body eq "json") { $answer{body} = {b => 1, a => [1, "x"]}; $answer{headers} = {"X-Seen" => "yes"} }
    elsif ($body eq "send") { $answer{body} = "sent"; $answer{sends} = [
        {to => "flow/next", body => {n => 1}}, {to => "topic/news", body => "plain"}] }
    elsif ($body eq "env") {
        $answer{body} = join ",", map { "$_=$ENV{$_}" } sort grep { !/^(PATH|LC_.*|LANG.*)$/ } keys %ENV }
    elsif ($body eq "request") { $answer{body} = $request }
    elsif (exists $request->{base64}) { $answer{base64} = $request->{base64} }
    elsif ($body eq "exit") { exit 3 }
    elsif ($body eq "half") { print '{"id": "'; exit 0 }
    elsif ($body eq "hang") { sleep 3600 }
    elsif ($body eq "close") { close STDOUT; sleep 3600 }
    elsif ($body eq "noise") { print "noise $_\n" for 1 .. 5; $answer{body} = "after noise" }
    elsif ($body eq "garbage") { binmode STDOUT; while (1) { print "\xff\x00\xfe garbage\n" or exit 1 } }
    elsif ($body eq "gigabyte") { my $x = "x" x (1 << 20); while (1) { print $x or exit 1 } }
    elsif ($body eq "fits not") { print '{"id": "', $request->{id}, '", "headers": 7}', "\n"; next }
    else { $answer{body} = uc $body }
    print $json->encode(\%answer), "\n";
}
print STDERR "the input has ended\n";
'''


def write(folder: Path, name: str, text: str) -> Path:
    """An executable file."""
    file = folder / name
    file.write_text(text)
    file.chmod(0o755)
    return file


def service_of(*command: str, **fields: object) -> Service:
    return Service(name="prog", command=list(command), **fields)  # type: ignore[arg-type]


def command_in(folder: Path, service: Service, **more: object) -> CommandService:
    setting = Setting(folder=folder, sockets=folder / "sockets", instance="prog-1", **more)  # type: ignore[arg-type]
    return CommandService(service, setting)


def given(body: bytes | str, **fields: object) -> tuple[Message, Context]:
    message = Message.new(body.encode() if isinstance(body, str) else body, **fields)
    return message, Context(message, service="prog", stage="m.0.start", deadline=1e9)
