"""Build a bundle, read one, verify one."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from arint.bootstrap.bundle import layers, sources
from arint.bootstrap.bundle.manifest import FILE, FORMAT, SBOM, Component, Entry, Manifest, installed, this_platform
from arint.bootstrap.bundle.sbom import sbom
from arint.engines.find import Program
from arint.errors import ArintError, NotFoundError, NotValidError
from arint.operations.progress import Progress, Step, silent
from arint.version import VERSION

_LAUNCHER = """#!/bin/sh
# Runs from wherever the bundle was unpacked; nothing of it is left in the environment.
here=$(dirname "$(readlink -f "$0")")
exec "$here/../python/bin/{python}" -I -m {module} "$@"
"""
_LAUNCHED = {"arintctl": "arintctl", "nodeagent": "nodeagent", "supervisord": "supervisor.supervisord"}
LARGEST_MANIFEST = 32 * 2**20


class Bundle(msgspec.Struct, frozen=True):
    """An archive: where it is, its hash and size, and what it says of itself."""

    path: str
    sha256: str
    size: int
    manifest: Manifest


def build(etcd: Program, nats: Program, *, target: Path | None = None, cache: Path | None = None,
          progress: Progress = silent) -> Bundle:
    """The bundle of the running ARINT with these engines, at `target` (default: in the cache).

    Only what changed since the last build is read; the same content gives the same bytes. A node that was installed
    from a bundle gives that one.
    """
    cache = cache or layers.default_cache()
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    progress(Step("collecting what the bundle is made of"))
    here = installed()
    parts = [_installed_layer(*here)] if here is not None else _layers(etcd, nats)
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        made = list(pool.map(lambda layer: _told(layer, cache, progress), parts))
    files = {path: entry for one in made for path, entry in one.files.items()}
    if here is not None:
        manifest, extra = here[1], {}
    else:
        components = _with_hashes([component for layer in parts for component in layer.components], files)
        extra = {SBOM: (sbom(VERSION, components), False), **_launchers()}
        files.update({path: Entry(hashlib.sha256(content).hexdigest(), len(content), program)
                      for path, (content, program) in extra.items()})
        manifest = Manifest(release=VERSION, python=".".join(map(str, sys.version_info[:3])), etcd=etcd.version_text,
                            nats=nats.version_text, platform=this_platform(), components=tuple(components),
                            files=dict(sorted(files.items())))
    progress(Step("writing the bundle"))
    head = layers.compressed({FILE: (msgspec.json.encode(manifest), False)}) + layers.compressed(extra)
    path = target or cache / f"arint-{manifest.id}-{manifest.platform.machine}.tar.gz"
    _join(path, head, [Path(one.piece) for one in made])
    layers.forget_old(cache)
    return opened(path)


def opened(path: Path) -> Bundle:
    """An archive that is there. Raises NotFoundError, NotValidError."""
    manifest = read(path)
    with _open(path) as file:
        return Bundle(str(path), _sha256(file), path.stat().st_size, manifest)


def read(path: Path) -> Manifest:
    """What the bundle says of itself: its first member. Raises NotFoundError, NotValidError."""
    try:
        with _open(path) as file, _archive(file) as archive:
            first = archive.next()
            content = archive.extractfile(first) if first is not None and first.name == FILE else None
            if content is None or first is None or first.size > LARGEST_MANIFEST:
                raise NotValidError("this is no bundle of ARINT", where=str(path), remedy="run: arintctl bundle build")
            manifest = msgspec.json.decode(content.read(), type=Manifest)
    except (tarfile.TarError, EOFError, zlib.error, OSError, msgspec.MsgspecError) as error:
        raise NotValidError(f"this is no bundle of ARINT: {error}", where=str(path),
                            remedy="run: arintctl bundle build") from None
    if manifest.format != FORMAT:
        raise NotValidError(f"the bundle has format {manifest.format}, and this release reads format {FORMAT}",
                            where=str(path), remedy="use the release that built it")
    return manifest


def verify(path: Path) -> Manifest:
    """Read all of it, and compare every file with its hash. Raises NotValidError that lists each that differs."""
    manifest = read(path)
    wanted = dict(manifest.files)
    problems: list[str] = []
    try:
        with _open(path) as file, _archive(file) as archive:
            for member in archive:
                if member.name != FILE and (problem := _compare(archive, member, wanted)):
                    problems.append(f"{member.name}: {problem}")
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        problems.append(f"the archive cannot be read to its end: {error}")
    problems += [f"{path}: missing" for path in wanted]
    if problems:
        raise NotValidError(f"the bundle is not what it says: {len(problems)} differ", problems=problems[:100],
                            where=str(path), remedy="fetch or build it again: arintctl bundle build")
    return manifest


def _compare(archive: tarfile.TarFile, member: tarfile.TarInfo, wanted: dict[str, Entry]) -> str:
    entry = wanted.pop(member.name, None)
    if entry is None:
        return "not in the manifest, or twice"
    content = archive.extractfile(member) if member.isfile() else None
    if content is None:
        return "no plain file"
    if _sha256(content) != entry.sha256:
        return "another content than the manifest says"
    return "" if bool(member.mode & 0o100) == entry.program else "other rights than the manifest says"


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while part := file.read(2**20):
        digest.update(part)
    return digest.hexdigest()


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFoundError("there is no such bundle", where=str(path), remedy="run: arintctl bundle build") from None


@contextmanager
def _archive(file: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """gzip and tar apart: tarfile's own reading of gzip ends with the first member."""
    with gzip.GzipFile(fileobj=file) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
        yield archive


def _told(layer: sources.Layer, cache: Path, progress: Progress) -> layers.Made:
    made = layers.made(layer, cache)
    progress(Step(f"bundle: {layer.name}"))
    return made


def _layers(etcd: Program, nats: Program) -> list[sources.Layer]:
    packages = sources.packages()
    return [sources.interpreter(packages), *packages, sources.own(),
            sources.engine("etcd", etcd.path, etcd.version_text),
            sources.engine("nats-server", nats.path, nats.version_text)]


def _launchers() -> dict[str, tuple[bytes, bool]]:
    python = sources.python_name()
    return {f"bin/{name}": (_LAUNCHER.format(python=python, module=module).encode(), True)
            for name, module in _LAUNCHED.items()}


def _with_hashes(components: list[Component], files: dict[str, Entry]) -> list[Component]:
    """Libraries and engines are one file each: the bill tells its hash."""
    places = {"engine": "engines/", "library": "python/lib/"}
    return sorted(msgspec.structs.replace(component, sha256=files[place + component.name].sha256)
                  if (place := places.get(component.kind)) else component for component in components)


def _installed_layer(folder: Path, manifest: Manifest) -> sources.Layer:
    missing = [path for path in manifest.files if not (folder / path).is_file()]
    if missing:
        raise ArintError(f"the installation lacks {missing[0]}", where=str(folder), remedy="install it again")
    return sources.Layer("installed", tuple(sources.Source(path, str(folder / path), entry.program)
                                            for path, entry in manifest.files.items()), ())


def _join(path: Path, head: bytes, pieces: list[Path]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            for part in _parts(head, pieces):
                file.write(part)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _parts(head: bytes, pieces: list[Path]) -> Iterator[bytes]:
    yield head
    for piece in pieces:
        yield piece.read_bytes()
    yield layers.end_mark()
