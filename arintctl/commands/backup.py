"""cluster backup, cluster restore: the whole cluster in one encrypted file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arint.errors import NotFoundError, UsageError
from arintctl import options
from arintctl.commands import certs
from arintctl.output import Column, Table, columned, write
from arintctl.session import Session
from arintctl.text import clock, lasting, octets_text
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.backup import BackupResult

app = commands()
backups = commands()
app.add_typer(backups, name="backup", help="Backups of the whole cluster: create, show and verify them.")
app.add_typer(certs.app, name="certs", help="Certificates: list, renew, rotate and revoke them.")

VARIABLE = "ARINT_PASSPHRASE"
File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
PassphraseFile = Annotated[Path | None, typer.Option("--passphrase-file", help=f"Read the passphrase from this file "
                                                     f"(else ${VARIABLE}, else it is asked for).")]

STREAMS = Table((
    Column("STREAM", lambda stream: stream.name),
    Column("MESSAGES", lambda stream: stream.before.messages),
    Column("FIRST", lambda stream: stream.before.first),
    Column("LAST", lambda stream: stream.before.last),
    Column("CONSUMERS", lambda stream: len(stream.consumers)),
    Column("AT REST", lambda stream: "yes" if stream.before == stream.after else "no", wide=True),
), name=lambda stream: str(stream.name))


@verb(backups, "create", example="arintctl cluster backup create /var/backups --passphrase-file /root/passphrase")
def create(session: Session,
           target: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="A new file, or a folder for one.")], *,
           passphrase_file: PassphraseFile = None) -> None:
    """Back up the whole cluster into one encrypted file, while messages flow; verify what was written.

    It holds messages, configuration, secrets, certificates, code and the users' data. Without the passphrase it is
    lost.
    """
    from arint.operations.backup import backup

    passphrase = _passphrase(passphrase_file, confirm=True)
    result = session.run(lambda link, progress: backup(link, target, passphrase, progress))
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write(result.file)
    else:
        write(_told(result))


@verb(backups, "show", example="arintctl cluster backup show local-20260101T020000Z.arint-backup")
def show(session: Session, file: File, *, passphrase_file: PassphraseFile = None) -> None:
    """Show what a backup holds, without reading all of it."""
    from arint.operations.backup import show as operation

    manifest = operation(file, _passphrase(passphrase_file))
    if session.is_data:
        session.data(manifest)
        return
    if session.form != "name":
        write(columned([["cluster", manifest.cluster], ["node", manifest.node], ["made", clock(manifest.created)],
                        ["release", manifest.release], ["etcd", f"{manifest.etcd}, revision {manifest.revision}"],
                        ["entries", str(len(manifest.entries))], ["size", octets_text(manifest.size)]]) + "\n")
    session.rows(manifest.streams, STREAMS)


@verb(backups, "verify", example="arintctl cluster backup verify local-20260101T020000Z.arint-backup")
def verify(session: Session, file: File, *, passphrase_file: PassphraseFile = None) -> None:
    """Read all of a backup, and compare each part with its digest."""
    import time

    from arint.operations.backup import told, verified

    begun, passphrase = time.monotonic(), _passphrase(passphrase_file)
    result = told(file, verified(file, passphrase), time.monotonic() - begun)
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write(result.file)
    else:
        write(f"{file} is whole: {_held(result)}")


@verb(backups, "schedule", example="arintctl cluster backup schedule --every 24h --keep 7 --to /var/backups "
                                   "--passphrase-file /root/passphrase")
def schedule(session: Session, *,
             every: Annotated[str, typer.Option(metavar="DURATION", help="The time from one to the next.")] = "",
             keep: Annotated[int, typer.Option(min=1, help="How many stay; older ones are removed.")] = 7,
             to: Annotated[Path | None, typer.Option(help="The folder for them.")] = None,
             passphrase_file: Annotated[Path | None, typer.Option("--passphrase-file",
                                                                  help="Where the agent reads the passphrase.")] = None,
             off: Annotated[bool, typer.Option("--off", help="Make none any more.")] = False) -> None:
    """Have the agent of this node make backups by itself; without options, show what it does and what became of it."""
    from arint.backup import schedule as kept
    from arint.operations.backup import set_schedule

    home = session.home()
    home.load()
    if off:
        kept.write_schedule(home, None)
    elif every or to is not None or passphrase_file is not None:
        if not every or to is None or passphrase_file is None:
            raise UsageError("a schedule needs --every, --to and --passphrase-file", remedy="name all three, or --off")
        set_schedule(home, kept.Schedule(every=options.seconds_of(every), keep=keep, to=str(to.absolute()),
                                         passphrase_file=str(passphrase_file.absolute())))
    found, outcome = kept.read_schedule(home), kept.read_outcome(home)
    if session.is_data:
        session.data({"schedule": found, "last": outcome})
    elif found is None:
        write("no backups are scheduled on this node")
    else:
        last = f"failed: {outcome.error}" if outcome.error else outcome.file or "none yet"
        write(columned([["every", lasting(found.every)], ["keep", str(found.keep)], ["to", found.to], ["last", last],
                        ["at", clock(outcome.at) if outcome.at else "-"]]))


@verb(app, "restore", example="arintctl cluster restore local-20260101T020000Z.arint-backup --home /var/lib/arint")
def restore(session: Session, file: File, *,
            host: Annotated[str, typer.Option(help="The address to listen on (default: the backup's).")] = "",
            passphrase_file: PassphraseFile = None) -> None:
    """Make a new home of a backup, as a cluster of one machine; start it with arintctl up.

    The home (--home) must not exist. What had been done after the backup is done again.
    """
    from arint.operations.restoring import RestoreArguments
    from arint.operations.restoring import restore as operation
    from arintctl.contexts import ports_of_others, record

    home = session.home()
    arguments = RestoreArguments(host=host, avoid=ports_of_others(home.path))
    passphrase = _passphrase(passphrase_file)
    result = session.run(lambda _, progress: operation(home, file, passphrase, arguments, progress))
    record(home.path, session.settings.context or "")
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write(result.node)
    else:
        again = "".join(f"\nmay bring again what was done while the backup was made: {one}" for one in result.repeating)
        write(f"{result.home} holds cluster {result.cluster} as of {clock(result.created)}: {result.messages} messages "
              f"in {result.streams} streams ({lasting(result.took)}){again}\n"
              f"start it: arintctl up --home {result.home}")


def _told(result: BackupResult) -> str:
    return f"{result.file} is written and verified ({lasting(result.took)}): {_held(result)}"


def _held(result: BackupResult) -> str:
    return (f"cluster {result.cluster} at {clock(result.created)}, {result.messages} messages in {result.streams} "
            f"streams, {octets_text(result.size)}")


def _passphrase(file: Path | None, *, confirm: bool = False) -> bytes:
    """From the file, the environment, or a question that does not echo; without the one line break at its end."""
    if file is not None:
        try:
            raw = file.read_bytes()
        except OSError as error:
            raise NotFoundError(f"the passphrase cannot be read: {error.strerror}", where=str(file)) from None
    elif os.environ.get(VARIABLE):
        raw = os.environb[VARIABLE.encode()]
    elif sys.stdin.isatty():
        raw = str(typer.prompt("passphrase", hide_input=True, confirmation_prompt=confirm, err=True)).encode()
    else:
        raise UsageError("no passphrase was given", remedy=f"name a file with --passphrase-file, or set ${VARIABLE}")
    return raw.removesuffix(b"\n").removesuffix(b"\r")
