"""Fetch an engine that no package of Python carries: Debian's etcd, newer than the embedded one, for several machines.

    CACHE/arint/engines/etcd-3.5.16-4/    etcd, etcdutl, and fetched.json, which tells where they come from
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from arint.engines.apt import Apt, held
from arint.engines.find import ETCD, FETCHED, Program, candidates, fetched_folder, version_of
from arint.errors import ArintError, NotFoundError, NotValidError, UsageError

SUITES = ("trixie", "sid")
"""Where Debian's etcd is new enough, the calmest first."""
_PACKAGE = "etcd-server"
_PROGRAMS = ("etcd", "etcdutl")
_NAMES = ("etcd",)


class Fetched(msgspec.Struct, frozen=True):
    """Where a fetched engine comes from; `at` in seconds since 1970."""

    name: str
    package: str
    version: str
    suite: str
    sha256: dict[str, str]
    at: float


class FetchResult(msgspec.Struct, frozen=True):
    """The engine that is there now, and whether it had to be fetched."""

    name: str
    path: str
    version: str
    origin: str
    already_there: bool


def fetch_engine(name: str, *, suite: str = "", again: bool = False,
                 tell: Callable[[str], None] = lambda text: None) -> FetchResult:
    """Fetch Debian's newest etcd of `suite` (of the first of `SUITES` that does, if empty) into the user's cache.

    One that is there and good enough is kept, unless `again`. Raises UsageError for another engine, NotFoundError
    where there is no Debian or no suite has one that is new enough, UnreachableError without the mirror.
    """
    if name not in _NAMES:
        raise UsageError(f"{name} cannot be fetched", remedy=f"fetched are: {', '.join(_NAMES)}; "
                         "nats-server comes with the Python packages")
    folder = fetched_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with held(folder / "lock"):
        there = newest_fetched() if not again and not suite else None
        if there is not None:
            return _result(there, already_there=True)
        problems = []
        for one in (suite,) if suite else SUITES:
            try:
                return _result(_fetch(folder, one, tell), already_there=False)
            except ArintError as error:
                problems.append(f"{one}: {error.what}")
    raise NotFoundError(f"no etcd could be fetched: {'; '.join(problems)}", where="Debian's packages",
                        remedy="name a program of yours (etcd 3.5.16 or newer) with ARINT_ETCD")


def newest_fetched() -> Program | None:
    """The newest fetched etcd that is good enough."""
    return next((Program(one.path, one.version, one.place) for one in candidates(ETCD)
                 if one.place == FETCHED and one.version and not one.reason), None)


def origin_of(program: Path) -> Fetched | None:
    """What stands in its fetched.json."""
    try:
        return msgspec.json.decode((program.parent / "fetched.json").read_bytes(), type=Fetched)
    except (OSError, msgspec.MsgspecError):
        return None


def _result(program: Program, *, already_there: bool) -> FetchResult:
    origin = origin_of(Path(program.path))
    told = f"{origin.package} {origin.version} of Debian {origin.suite}" if origin else "unknown"
    return FetchResult("etcd", program.path, program.version_text, told, already_there)


def _fetch(folder: Path, suite: str, tell: Callable[[str], None]) -> Program:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".apt-") as scratch:
        apt = Apt(Path(scratch) / "apt", suite)
        tell(f"reading the packages of Debian {suite}")
        apt.refresh()
        version = apt.version(_PACKAGE)
        tell(f"fetching {_PACKAGE} {version} of Debian {suite}")
        apt.unpack([_PACKAGE], Path(scratch) / "root")
        return _put(folder, Path(scratch), suite, version)


def _put(folder: Path, scratch: Path, suite: str, version: str) -> Program:
    """Put the programs in place, whole, once they have shown that they run here."""
    made = scratch / "made"
    made.mkdir(mode=0o700)
    for name in _PROGRAMS:
        shutil.copy2(scratch / "root/usr/bin" / name, made / name)
    found = version_of(str(made / "etcd"))
    if found is None:
        raise NotValidError(f"etcd {version} does not run on this machine")
    if found < ETCD.least:
        raise NotValidError(f"etcd {version} is older than {'.'.join(map(str, ETCD.least))}")
    digests = {name: hashlib.sha256((made / name).read_bytes()).hexdigest() for name in _PROGRAMS}
    origin = Fetched("etcd", _PACKAGE, version, suite, digests, time.time())
    (made / "fetched.json").write_bytes(msgspec.json.format(msgspec.json.encode(origin), indent=2) + b"\n")
    place = folder / f"etcd-{version.replace(':', '_')}"
    if not place.exists():  # else it is the same package, and may be running
        made.rename(place)
    return Program(str(place / "etcd"), found, FETCHED)
