"""Programs over lines: what they answer, and all the ways in which they do not."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from arint.command import ndjson, service
from arint.command.frames import ProgramError
from arint.command.service import CommandService
from arint.errors import ArintError, NotFoundError, RejectedError, SystemUnavailableError, TimedOutError
from arint.resources.kinds import SecretReference
from tests.command.programs import ECHO, command_in, given, service_of, write
from tests.patience import PATIENCE


@asynccontextmanager
async def running(command: CommandService) -> AsyncIterator[CommandService]:
    await command.start()
    try:
        yield command
    finally:
        await command.stop(0.0)


@pytest.fixture
async def echo(tmp_path: Path) -> AsyncIterator[CommandService]:
    write(tmp_path, "echo.pl", ECHO)
    async with running(command_in(tmp_path, service_of("./echo.pl"))) as command:
        yield command


async def ask(command: CommandService, body: bytes | str, **fields: object) -> bytes:
    async with asyncio.timeout(PATIENCE):
        return (await command.handle(*given(body, **fields))).message.body


async def until(true: Callable[[], object], within: float = PATIENCE) -> None:
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.01)


async def test_bodies_go_there_and_back(echo: CommandService) -> None:
    assert await ask(echo, "abc\n") == b"ABC\n"
    assert await ask(echo, b"\xff\x00\xfe") == b"\xff\x00\xfe"
    assert await ask(echo, "keep") == b"keep"
    reply = await echo.handle(*given("json", content_type="text/plain", headers={"a": "1"}))
    assert json.loads(reply.message.body) == {"a": [1, "x"], "b": 1}
    assert reply.message.content_type == "application/json"
    assert reply.message.headers == {"a": "1", "x-seen": "yes"}


async def test_a_request_tells_all_there_is(echo: CommandService) -> None:
    message, context = given("request", headers={"x-kind": "return"}, content_type="text/plain")
    told = json.loads((await echo.handle(message, context)).message.body)
    assert told == {"id": told["id"], "type": "message", "message": message.id, "key": "m.0.start", "attempt": 1,
                    "deadline": 1e9, "content_type": "text/plain", "headers": {"x-kind": "return"}, "body": "request"}


async def test_errors_are_those_that_it_means(echo: CommandService) -> None:
    with pytest.raises(RejectedError, match="WrongTax: no such tax"):
        await ask(echo, "reject")
    with pytest.raises(ProgramError, match="the ledger is closed") as caught:
        await ask(echo, "fail")
    assert caught.value.title == "Broken"
    with pytest.raises(SystemUnavailableError, match="at lunch") as away:
        await ask(echo, "later")
    assert away.value.retry_after == 2
    with pytest.raises(ProgramError, match="the program's answer does not fit"):
        await ask(echo, "fits not")
    assert await ask(echo, "still here") == b"STILL HERE"


async def test_what_it_sends_is_stored_with_its_result(echo: CommandService) -> None:
    reply = await echo.handle(*given("send"))
    assert [(output.flow, output.message.body) for output in reply.outputs] == [
        ("next", b'{"n":1}'), ("topic=news", b"plain")]


async def test_its_environment_is_clean_and_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for everybody")
    write(tmp_path, "echo.pl", ECHO)
    wanted = service_of("./echo.pl", env={"CURRENCY": "EUR", "WHERE": "${ARINT_DATA}/x", "KEY": SecretReference("k")})
    command = command_in(tmp_path, wanted, secrets={"k": b"geheim"}, variables={"ARINT_DATA": "/data"})
    async with running(command):
        env = dict(pair.split("=", 1) for pair in (await ask(command, "env")).decode().split(","))
    kept = {name: env.pop(name) for name in ("HOME", "USER", "LOGNAME", "SHELL", "TZ", "TMPDIR") if name in env}
    assert kept.get("HOME") == os.environ.get("HOME")
    assert env == {"ARINT_SERVICE": "prog", "ARINT_INSTANCE": "prog-1", "CURRENCY": "EUR", "WHERE": "/data/x",
                   "KEY": "geheim"}


@pytest.mark.parametrize(("body", "words"), [
    ("exit", "ended with code 3, before it had answered"),
    ("half", "ended with code 0 in the middle of a line"),
    ("close", "closed its stdout"),
    ("garbage", "1000 lines that are no answers"),
    ("gigabyte", "a line of more than 16 MiB"),
])
async def test_one_that_does_its_worst_fails_that_message_and_is_started_anew(echo: CommandService, body: str,
                                                                              words: str) -> None:
    assert echo._program is not None
    pid = echo._program._child.pid
    with pytest.raises(ProgramError, match=words):
        await ask(echo, body)
    assert await ask(echo, "again") == b"AGAIN"
    assert echo.ends == 1
    assert not Path(f"/proc/{pid}").exists()
    assert echo.trouble == ""


async def test_some_noise_is_forgiven(echo: CommandService) -> None:
    assert await ask(echo, "noise") == b"after noise"


async def test_one_that_hangs_is_ended_when_the_message_is_given_up(echo: CommandService) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await echo.handle(*given("hang"))
    echo.timed_out()
    assert await ask(echo, "again") == b"AGAIN"
    assert echo.ends == 1


async def test_one_that_never_reads_is_ended(tmp_path: Path) -> None:
    write(tmp_path, "deaf.sh", '#!/bin/sh\nread line\necho \'{"id":"hello"}\'\nexec sleep 3600\n')
    async with running(command_in(tmp_path, service_of("./deaf.sh"))) as command:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await command.handle(*given("x" * 2**20))
        command.timed_out()
        await until(lambda: command.ends == 1)


async def test_many_at_once_by_its_own_word_and_in_any_order(tmp_path: Path) -> None:
    write(tmp_path, "pairs.pl", r'''#!/usr/bin/perl
use JSON::PP; $| = 1; my @held;
while (<STDIN>) { my $r = decode_json($_);
    if ($r->{type} eq "hello") { print encode_json({id => "hello", concurrency => 8}), "\n"; next }
    push @held, $r; next if @held < 4;
    print encode_json({id => $_->{id}, body => "$_->{body}!"}), "\n" for reverse splice @held;
}''')
    async with running(command_in(tmp_path, service_of("./pairs.pl", concurrency=4))) as command:
        assert command.concurrency == 4
        assert await asyncio.gather(*(ask(command, str(n)) for n in range(8))) == [f"{n}!".encode() for n in range(8)]


@pytest.mark.parametrize(("name", "text", "words"), [
    ("gone.sh", None, "there is no program"),
    ("no.sh", "#!/usr/bin/no-such-interpreter -w\n", "its interpreter is not on this node: #!/usr/bin/no-such-interp"),
    ("bin", "\x7fELF nonsense", "cannot be executed"),
    ("ends.sh", "#!/bin/sh\necho no database >&2\nexit 4\n", "ended with code 4, before it had answered"),
    ("refuses.sh", '#!/bin/sh\necho \'{"id":"hello","error":{"message":"no tariff in config"}}\'\nread x\nread x\n',
     "no tariff in config"),
])
async def test_one_that_does_not_start_says_why(tmp_path: Path, name: str, text: str | None, words: str) -> None:
    if text is not None:
        write(tmp_path, name, text)
    command = command_in(tmp_path, service_of(f"./{name}"))
    with pytest.raises(ArintError, match=words):
        await command.start()


async def test_not_executable_and_not_installed(tmp_path: Path) -> None:
    write(tmp_path, "plain.sh", "#!/bin/sh\n").chmod(0o644)
    with pytest.raises(ArintError, match="may not be executed"):
        await command_in(tmp_path, service_of("./plain.sh")).start()
    with pytest.raises(NotFoundError, match="there is no program no-such-program"):
        await command_in(tmp_path, service_of("no-such-program")).start()


async def test_one_that_says_nothing_is_told_what_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "START_WITHIN", 0.3)
    write(tmp_path, "mute.sh", "#!/bin/sh\nexec sleep 3600\n")
    with pytest.raises(TimedOutError, match='"id": "hello"'):
        await command_in(tmp_path, service_of("./mute.sh")).start()


async def test_it_ends_with_its_input_and_has_time_for_it(tmp_path: Path) -> None:
    write(tmp_path, "tidy.sh", '#!/bin/sh\nwhile read line; do echo \'{"id":"hello"}\'; done\n'
          "sleep 0.2; touch tidied\n")
    command = command_in(tmp_path, service_of("./tidy.sh"))
    await command.start()
    await command.stop(5.0)
    assert (tmp_path / "tidied").exists()


async def test_one_that_ignores_all_is_killed_with_its_children(tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LAST_WORDS", 0.1)
    monkeypatch.setattr("arint.command.child.ASK_AGAIN", 0.1)
    write(tmp_path, "stubborn.sh", "#!/bin/sh\ntrap '' TERM\nsleep 3600 & echo $! > child\nread line\n"
          'echo \'{"id":"hello"}\'\nwhile true; do sleep 1; done\n')
    command = command_in(tmp_path, service_of("./stubborn.sh"))
    await command.start()
    await command.stop(0.0)
    child = int((tmp_path / "child").read_text())
    await until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


async def test_one_that_ends_again_and_again_is_in_trouble_until_it_serves(tmp_path: Path) -> None:
    write(tmp_path, "moody.sh", '#!/bin/sh\n[ -e broken ] && exit 9\nread line\necho \'{"id":"hello"}\'\nread line\n')
    async with running(command_in(tmp_path, service_of("./moody.sh"))) as command:
        (tmp_path / "broken").touch()
        with pytest.raises(ProgramError):
            await ask(command, "x")
        await until(lambda: command.trouble)
        assert "ended with code 9" in command.trouble
        (tmp_path / "broken").unlink()
        await until(lambda: not command.trouble)


async def test_what_was_given_anew_needs_a_new_process(tmp_path: Path) -> None:
    write(tmp_path, "echo.pl", ECHO)
    wanted = service_of("./echo.pl", env={"KEY": SecretReference("k")})
    command = command_in(tmp_path, wanted, secrets={"k": b"old"})
    async with running(command):
        assert b"KEY=old" in await ask(command, "env")
        command.configure(wanted, command_in(tmp_path, wanted, secrets={"k": b"new"})._setting)
        await until(lambda: not command._serving.is_set())
        assert b"KEY=new" in await ask(command, "env")
    assert ndjson.MOST_NOISE
