"""Backup of the whole cluster into one encrypted file, while messages flow.

Order is what makes a restored cluster lose nothing (docs/decisions/0039). First it is noted how far every consumer has
acked; then the streams are copied, claims and marks before messages, messages before their large bodies; then etcd,
which so knows every flow that a copied message is of; then files. What a consumer acked after that note, the restore
does not believe: its result may have been stored in a stream that had been copied already.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from arint.administration.registry import at_home
from arint.artifacts import store
from arint.backup import files
from arint.backup.archive import Reader, Writer, checked_passphrase
from arint.backup.manifest import SUFFIX, ConsumerEntry, Entry, Manifest, Sequences, StreamEntry, sequences
from arint.backup.schedule import Schedule, write_schedule
from arint.bus import keeper, snapshots, streams, subjects
from arint.bus.connection import Bus
from arint.errors import ArintError, ConflictError, DeniedError, NotFoundError, NotValidError
from arint.home import Home
from arint.operations.connect import Link
from arint.operations.progress import Progress, Step, silent
from arint.version import VERSION

_FIRST = (subjects.MARKS, subjects.LEDGER, subjects.DEAD)
_LAST = (subjects.ACTIONS, subjects.CALLS, subjects.TOPICS)
_SPARE = 64 * 2**20
_LEAST_EVERY = 5.0


class BackupResult(msgspec.Struct, frozen=True):
    """A backup that was written and verified. `took` in seconds, `size` in bytes."""

    file: str
    size: int
    took: float
    messages: int
    streams: int
    revision: int
    cluster: str
    node: str
    created: float
    release: str


@at_home
async def backup(link: Link, target: Path, passphrase: bytes, progress: Progress = silent) -> BackupResult:
    """Back the cluster up into the file `target`, or into a new file where that is a folder.

    Raises ConflictError (the file exists, another backup writes it, secrets were rotated meanwhile), ArintError (too
    little room), UnreachableError.
    """
    begun = time.monotonic()
    checked_passphrase(passphrase, "the passphrase")
    config = link.config
    created = time.time()
    file = _named(target, config.cluster, created)
    with _new_file(file) as (out, part):
        progress(Step("looking at what there is"))
        bus = await link.bus()
        await _check_room(link, bus, file.parent)
        writer = await asyncio.to_thread(lambda: Writer(out, passphrase, release=VERSION, cluster=config.cluster,
                                                        node=config.node, created=created))
        manifest = await _write(link, bus, writer, created, progress)
        await asyncio.to_thread(writer.finish, manifest)
        progress(Step("verifying what was written"))
        await asyncio.to_thread(verified, part, passphrase)
    progress(Step(f"backup {file} is written and verified", done=True))
    return told(file, manifest, time.monotonic() - begun)


def show(file: Path, passphrase: bytes) -> Manifest:
    """What a backup holds. Raises what `Reader` raises."""
    with Reader(file, passphrase) as reader:
        return reader.manifest()


def verified(file: Path, passphrase: bytes) -> Manifest:
    """Read all of a backup and compare it with its manifest. Raises NotValidError, DeniedError, NotFoundError."""
    with Reader(file, passphrase) as reader:
        return reader.verify()


def told(file: Path, manifest: Manifest, took: float) -> BackupResult:
    """The result as it is shown."""
    return BackupResult(str(file), file.stat().st_size, took, manifest.messages, len(manifest.streams),
                        manifest.revision, manifest.cluster, manifest.node, manifest.created, manifest.release)


def in_order(names: Iterable[str]) -> list[str]:
    """In which order streams are copied. What refers comes before what it refers to; records of the past last. Pure."""

    def rank(name: str) -> tuple[int, str]:
        if name in _FIRST:
            return 0, name
        if name in _LAST:
            return 3, name
        return (1 if name.startswith(subjects.stream_of("")) else 2), name

    return sorted(names, key=rank)


async def copy_streams(bus: Bus, writer: Writer, progress: Progress) -> list[StreamEntry]:
    """Every stream but that of code into the archive, with what was acked before the first."""
    names = in_order(name for name in await streams.names(bus) if name != subjects.CODE)
    floors = {name: {one["name"]: one for one in await keeper.consumers(bus, name)} for name in names}
    found = []
    for number, name in enumerate(names, 1):
        progress(Step(f"copying stream {name} ({number} of {len(names)}, {writer.written // 2**20} MiB so far)"))
        with suppress(NotFoundError):  # deleted meanwhile, with its flow
            found.append(await _copy_stream(bus, writer, name, floors[name]))
    return found


async def copy_code(bus: Bus, writer: Writer, progress: Progress) -> tuple[list[StreamEntry], Collection[store.Name]]:
    """The store of code into the archive, and what it holds for certain: nothing where there is none yet."""
    there = await store.kept(bus)
    if not there:
        return [], ()
    progress(Step("copying the code of services"))
    return [await _copy_stream(bus, writer, subjects.CODE, {})], there.keys()


async def _copy_stream(bus: Bus, writer: Writer, name: str, floors: dict[str, dict[str, Any]]) -> StreamEntry:
    before = await streams.state(bus, name)
    writer.begin(Entry(kind="stream", name=name))
    copied = await snapshots.copy_out(bus, name, writer.write)
    writer.end()
    after = await streams.state(bus, name)
    consumers = []
    for now in await keeper.consumers(bus, name):
        then = floors.get(now["name"])
        floor = int(then["ack_floor"]["stream_seq"]) if then is not None else 0
        consumers.append(ConsumerEntry(now["name"], floor, then is None or _position(then) != _position(now)))
    return StreamEntry(name, copied.config, copied.state, _sequences(before), _sequences(after), tuple(consumers))


def _position(consumer: dict[str, Any]) -> tuple[object, ...]:
    """What changes with every ack."""
    return (consumer["ack_floor"]["stream_seq"], consumer["delivered"]["consumer_seq"], consumer["num_ack_pending"],
            consumer["ack_floor"].get("last_active"))


def _sequences(state: streams.StreamState) -> Sequences:
    return sequences(state.messages, state.first, state.last)


async def _write(link: Link, bus: Bus, writer: Writer, created: float, progress: Progress) -> Manifest:
    from arint.store.snapshot import copy_out

    begun = time.monotonic()
    home, etcd = link.home, await link.etcd()
    ring = _digest(home)
    for entry, source in files.identity(home):
        _copy_file(writer, entry, source)
    found = await copy_streams(bus, writer, progress)
    progress(Step("copying etcd"))
    status = await etcd.status()
    writer.begin(Entry(kind="etcd", name="etcd.db"))
    await copy_out(etcd, writer.write)
    writer.end()
    code, kept = await copy_code(bus, writer, progress)  # after etcd, which may name what was stored a moment ago
    progress(Step("copying files"))
    for entry, source in files.contents(home, kept):
        _copy_file(writer, entry, source)
        await asyncio.sleep(0)
    if _digest(home) != ring:
        raise ConflictError("secrets were sealed anew while the backup was made", where=str(home.pki),
                            remedy="run it again")
    return Manifest(release=VERSION, cluster=link.config.cluster, node=link.config.node, created=created,
                    took=time.monotonic() - begun, etcd=status.version, revision=status.revision,
                    streams=(*found, *code), entries=tuple(writer.entries))


def _digest(home: Home) -> str:
    from arint.security.sealing import ring_file

    return hashlib.sha256(ring_file(home).read_bytes()).hexdigest()


def _copy_file(writer: Writer, entry: Entry, source: Callable[[], Iterator[bytes]]) -> None:
    """A file that vanished meanwhile is empty in the archive no more than in the home: it is left out."""
    chunks = source()
    try:
        first = next(chunks, b"")
    except FileNotFoundError:
        return
    except OSError as error:
        raise DeniedError(f"a file of the home cannot be read: {error.strerror}", where=entry.name,
                          remedy="mend its permissions, then run it again") from None
    writer.begin(entry)
    if first:
        writer.write(first)
    for chunk in chunks:
        writer.write(chunk)
    writer.end()


async def _check_room(link: Link, bus: Bus, folder: Path) -> None:
    from arint.engines.machine import disk_free

    sizes = [await streams.size(bus, name) for name in await streams.names(bus)]
    needed = sum(sizes) + (await (await link.etcd()).status()).database_bytes + files.size(link.home) + _SPARE
    free = disk_free(folder)
    if free < needed:
        raise ArintError(f"there is too little space on the disk: {free // 2**20} MiB free of the "
                         f"{needed // 2**20} MiB that the backup may take", where=str(folder),
                         remedy="make room, or name a file on another disk")


def set_schedule(home: Home, schedule: Schedule) -> None:
    """Have the agent of this home make backups. Raises NotFoundError, NotValidError where it could not."""
    home.load()
    if schedule.every < _LEAST_EVERY or schedule.keep < 1:
        raise NotValidError(f"backups need {_LEAST_EVERY:g} s between them at least, and one must be kept",
                            where="--every, --keep")
    if not Path(schedule.to).is_dir():
        raise NotFoundError("there is no such folder", where=schedule.to, remedy="make it first")
    try:
        passphrase = Path(schedule.passphrase_file).read_bytes()
    except OSError as error:
        raise NotFoundError(f"the passphrase cannot be read: {error.strerror}",
                            where=schedule.passphrase_file) from None
    if Path(schedule.passphrase_file).stat().st_mode & 0o077:
        raise NotValidError("others may read the passphrase", where=schedule.passphrase_file,
                            remedy=f"chmod 600 {schedule.passphrase_file}")
    checked_passphrase(passphrase.strip(b"\r\n"), schedule.passphrase_file)
    write_schedule(home, schedule)


def _named(target: Path, cluster: str, created: float) -> Path:
    target = target.expanduser().absolute()
    if target.is_dir():
        return target / f"{cluster}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(created))}{SUFFIX}"
    return target


def backups_in(folder: Path, cluster: str) -> list[Path]:
    """The backups of a cluster that were made into a folder, oldest first."""
    name = re.compile(rf"{re.escape(cluster)}-\d{{8}}T\d{{6}}Z{re.escape(SUFFIX)}")
    return sorted(file for file in folder.iterdir() if name.fullmatch(file.name))


@contextmanager
def _new_file(file: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """The file under another name until it is whole; what a killed backup left under such a name is removed."""
    if file.exists():
        raise ConflictError("the file exists already", where=str(file), remedy="name another, or a folder")
    part = file.with_name(f".{file.name}.part")
    try:
        _remove_left(file.parent)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DeniedError(f"the backup cannot be written: {error.strerror}", where=str(part),
                          remedy="name a folder that exists and is yours") from None
    with os.fdopen(descriptor, "w+b") as out:
        try:
            fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError("another backup writes this file", where=str(file), remedy="wait for it") from None
        out.truncate(0)
        try:
            yield out, part
            part.replace(file)
            _sync(file.parent)
        except OSError as error:
            raise ArintError(f"the backup cannot be written: {error.strerror}", where=str(file),
                             remedy="make room, or name a file on another disk") from error
        finally:
            part.unlink(missing_ok=True)


def _remove_left(folder: Path) -> None:
    for left in folder.glob(f".*{SUFFIX}.part"):
        with suppress(OSError), left.open("r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
