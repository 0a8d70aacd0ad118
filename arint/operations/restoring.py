"""Restore of a backup into a new home: built beside it under another name, compared, then moved there in one step.

Killed at any moment, it leaves no home, only the folder `.NAME.restoring`, which the next run removes.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from arint.backup.archive import Reader
from arint.backup.manifest import Entry, Manifest, StreamEntry, fits, sequences
from arint.errors import ArintError, ConflictError, DeniedError, NotFoundError, NotValidError, TimedOutError
from arint.home import Home, NodeConfig, exclusive
from arint.operations.progress import Progress, Step, silent
from arint.operations.up import stop_all

if TYPE_CHECKING:
    from arint.bus.connection import Bus

_SPARE = 256 * 2**20
_TOOL_TIMEOUT = 600.0


class RestoreArguments(msgspec.Struct, frozen=True, kw_only=True):
    """`host`: where the node listens now, "" for the same as before. `avoid`: ports of other homes."""

    host: str = ""
    avoid: frozenset[int] = frozenset()


class RestoreResult(msgspec.Struct, frozen=True):
    """The restored home. `took` is in seconds."""

    home: str
    cluster: str
    node: str
    created: float
    messages: int
    streams: int
    revision: int
    repeating: tuple[str, ...]
    """Consumers that may bring again what was done while the backup was made, as stream/consumer."""
    took: float


async def restore(home: Home, file: Path, passphrase: bytes, arguments: RestoreArguments,
                  progress: Progress = silent) -> RestoreResult:
    """Make the new home `home` of the backup `file`; nothing runs afterwards.

    Raises ConflictError (there is a home, another restore is under way), NotValidError (damaged, another format),
    DeniedError (a wrong passphrase), ArintError (too little room, or what was restored is not what was backed up).
    """
    begun = time.monotonic()
    _refuse_existing(home)
    with Reader(file, passphrase) as reader, _alone(home):
        progress(Step("verifying the backup"))
        manifest = await asyncio.to_thread(reader.verify)
        staging = Home(home.path.with_name(f".{home.path.name}.restoring"))
        await _clear(staging, progress)
        _check_room(home.path.parent, manifest)
        staging.make_folders()
        try:
            repeating = await _build(staging, reader, manifest, arguments, progress)
        except BaseException:
            await _clear(staging, silent)
            raise
        os.sync()
        staging.path.rename(home.path)
    progress(Step(f"{home.path} holds cluster {manifest.cluster} as of the backup", done=True))
    return RestoreResult(str(home.path), manifest.cluster, home.load().node, manifest.created, manifest.messages,
                         len(manifest.streams), manifest.revision, tuple(repeating), time.monotonic() - begun)


async def _build(staging: Home, reader: Reader, manifest: Manifest, arguments: RestoreArguments,
                 progress: Progress) -> list[str]:
    from arint.engines.nats import Nats

    by_name = {stream.name: stream for stream in manifest.streams}
    broker: Nats | None = None
    bus: Bus | None = None
    repeating: list[str] = []
    try:
        for entry, chunks in reader.entries():
            if entry.kind == "stream":
                if broker is None or bus is None:
                    config = _configure(staging, arguments)
                    broker = Nats(staging, config)
                    broker.process.start()
                    await broker.wait_ready(60.0)
                    bus = await _connect(staging, config)
                progress(Step(f"restoring stream {entry.name}"))
                repeating += await _restore_stream(bus, by_name[entry.name], chunks)
            elif entry.kind == "etcd":
                _write_file(staging.etcd / "snapshot.db", chunks, 0o600)
            else:
                _put_file(staging, entry, chunks)
        if broker is None or not (staging.etcd / "snapshot.db").exists():
            raise NotValidError("the backup holds no streams, or no etcd", where=str(reader.path))
    finally:
        if bus is not None:
            await bus.close()
        if broker is not None:
            await broker.stop(30.0)
    progress(Step("restoring etcd"))
    await _restore_etcd(staging, manifest)
    return repeating


def _configure(staging: Home, arguments: RestoreArguments) -> NodeConfig:
    """The node as it was, alone, on ports that are free, with certificates for where it listens now."""
    from arint.ports import choose_ports
    from arint.security.ca import ensure_pki, hosts_of

    config = staging.load()
    config = msgspec.structs.replace(config, host=arguments.host or config.host)
    config = msgspec.structs.replace(config, ports=choose_ports(config.host, config.ports, avoid=arguments.avoid))
    staging.save(config)
    ensure_pki(staging, hosts_of(config))
    return config


async def _connect(staging: Home, config: NodeConfig) -> Bus:
    from arint.bus.connection import Bus
    from arint.runtime.control import BusSettings

    server = f"tls://{config.host}:{config.ports.nats}"
    return await Bus.connect(BusSettings((server,), *staging.identity("admin")), name="arintctl")


async def _restore_stream(bus: Bus, stream: StreamEntry, chunks: Iterator[bytes]) -> list[str]:
    from arint.bus import snapshots, streams

    await snapshots.copy_in(bus, stream.name, snapshots.Copied(stream.config, stream.state), chunks)
    state = await streams.state(bus, stream.name)
    found = sequences(state.messages, state.first, state.last)
    if not fits(stream, found):
        raise ArintError(f"the stream holds {found.messages} messages up to {found.last} after the restore, and held "
                         f"{stream.before.messages} up to {stream.before.last}", where=stream.name,
                         remedy="restore an earlier backup; nothing was changed")
    again = []
    for consumer in stream.consumers:
        if consumer.moved:
            await snapshots.reset(bus, stream.name, consumer.name, consumer.floor)
            again.append(f"{stream.name}/{consumer.name}")
    return again


async def _restore_etcd(staging: Home, manifest: Manifest) -> None:
    from arint.engines.etcd import Etcd as Engine
    from arint.store.connection import Etcd, Tls

    config = staging.load()
    snapshot = staging.etcd / "snapshot.db"
    await asyncio.to_thread(restore_snapshot, staging, config, snapshot)
    snapshot.unlink()
    engine = Engine(staging, config)
    engine.process.start()
    try:
        await engine.wait_ready(60.0)
        pem = staging.identity("etcd-admin")
        async with Etcd([engine.endpoint], Tls(pem.ca, pem.certificate, pem.key)) as etcd:
            revision = (await etcd.status()).revision
    finally:
        await engine.stop(30.0)
    if revision < manifest.revision:
        raise ArintError(f"etcd stands at revision {revision}, and the backup at {manifest.revision}",
                         where=str(staging.etcd), remedy="restore an earlier backup; nothing was changed")


def restore_snapshot(home: Home, config: NodeConfig, snapshot: Path) -> None:
    """etcd's data folder of a snapshot, as the only member. Raises NotFoundError, ArintError with etcd's words."""
    from arint.engines.find import find_etcd_tool

    tool = find_etcd_tool()
    url = f"https://{config.host}:{config.ports.etcd_peer}"
    data = home.etcd / "data"
    argv = [tool, "snapshot", "restore", str(snapshot), "--data-dir", str(data), "--name", config.node,
            "--initial-cluster", f"{config.node}={url}", "--initial-advertise-peer-urls", url,
            "--initial-cluster-token", f"arint-{config.cluster}"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_TOOL_TIMEOUT, check=False,
                              stdin=subprocess.DEVNULL, env={**os.environ, "ETCDCTL_API": "3"})
    except subprocess.TimeoutExpired:
        raise TimedOutError(f"the snapshot was not restored within {_TOOL_TIMEOUT:g} s", where=tool) from None
    except OSError as error:
        raise NotFoundError(f"etcd's tool cannot be run: {error.strerror}", where=tool) from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ArintError(f"etcd's snapshot was not restored: {lines[-1][:300] if lines else done.returncode}",
                         where=tool, remedy="take another copy of the backup, or an earlier one")


def _put_file(staging: Home, entry: Entry, chunks: Iterator[bytes]) -> None:
    path = _inside(staging, entry.name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if entry.kind == "folder":
        path.mkdir(exist_ok=True)
        path.chmod(entry.mode | 0o700)
    elif entry.kind == "link":
        path.symlink_to(os.fsdecode(b"".join(chunks)))
    else:
        _write_file(path, chunks, entry.mode)


def _inside(staging: Home, name: str) -> Path:
    """The archive is authenticated; that no name of its leads elsewhere is checked all the same."""
    path = Path(name)
    here = staging.path
    for part in path.parts[:-1]:
        here = here / part
        if here.is_symlink():
            raise NotValidError("a file of the backup stands behind a link", where=name)
    if path.is_absolute() or ".." in path.parts:
        raise NotValidError("a file of the backup stands outside of the home", where=name)
    return staging.path / path


def _write_file(path: Path, chunks: Iterator[bytes], mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fchmod(file.fileno(), mode)


def _refuse_existing(home: Home) -> None:
    try:
        holds = next(home.path.iterdir(), None)
    except FileNotFoundError:
        return
    except OSError as error:
        raise DeniedError(f"the new home cannot be made: {error.strerror}", where=str(home.path),
                          remedy="name another folder with --home") from None
    if holds is not None:
        what = "it is a home already" if home.exists else f"it is not empty: it holds {holds.name}"
        raise ConflictError(f"the new home cannot be made: {what}", where=str(home.path),
                            remedy="name a folder that does not exist with --home; a restore never overwrites")


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    home.path.parent.mkdir(parents=True, exist_ok=True)
    lock = home.path.with_name(f".{home.path.name}.restoring.lock")
    with exclusive(lock, "arintctl cluster restore", 0.0):
        yield
        lock.unlink(missing_ok=True)


async def _clear(staging: Home, progress: Progress) -> None:
    """What an earlier restore left, its engines too."""
    if staging.path.exists():
        await stop_all(staging, 10.0, progress)
        shutil.rmtree(staging.path)


def _check_room(folder: Path, manifest: Manifest) -> None:
    from arint.engines.machine import disk_free

    stored = sum(max(int(stream.state.get("bytes", 0)), 0) for stream in manifest.streams)
    largest = max((entry.size for entry in manifest.entries if entry.kind == "stream"), default=0)
    needed = manifest.size + stored + largest + _SPARE
    free = disk_free(folder)
    if free < needed:
        raise ArintError(f"there is too little space on the disk: {free // 2**20} MiB free of the "
                         f"{needed // 2**20} MiB that the restored home needs", where=str(folder),
                         remedy="make room, or name a home on another disk with --home")
