"""Debian's packages, downloaded and unpacked beside the system: nothing is installed, and no root is needed.

apt works with lists, a cache and sources of its own below one folder. The mirror is the machine's own; apt checks the
signature of the suite, and each package by the hashes that the suite lists.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from arint.errors import ArintError, NotFoundError, TimedOutError, UnreachableError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_OS_RELEASE = Path("/etc/os-release")
_LARGEST_STEP = 120
"""Seconds that one call of apt may take."""


class Apt:
    """Packages of `suite` (of the machine's own release if empty), with apt's files below `folder`.

    Raises NotFoundError where there is no apt or no Debian, UnreachableError where the mirror does not give it,
    TimedOutError where that takes minutes.
    """

    def __init__(self, folder: Path, suite: str = "") -> None:
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            raise NotFoundError("there is no apt-get on this machine: it is no Debian")
        self.folder = folder
        self.suite = suite or _release().get("VERSION_CODENAME", "")
        for name in ("lists/partial", "archives/partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        sources = folder / "sources.list"
        found = _sources(suite)
        self.mirror = found[0][0]
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        sources.write_text("".join(f"deb {signed}{uri} {release} main\n" for uri, release in found))
        self._options = [
            "-o", f"Dir::Etc::sourcelist={sources}", "-o", "Dir::Etc::sourceparts=-",
            "-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder}",
            "-o", "Acquire::Languages=none", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=20",
            "-o", "Acquire::https::Timeout=20", *(["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else [])]

    def refresh(self) -> None:
        """Read the suite's list of packages anew."""
        run_bounded(["apt-get", *self._options, "update", "--error-on=any"])

    def version(self, package: str) -> str:
        """The version that the suite has. Raises NotFoundError."""
        told = run_bounded(["apt-cache", *self._options, "policy", package])
        found = re.search(r"Candidate: (\S+)", told)
        if found is None or found[1] == "(none)":
            raise NotFoundError(f"the suite has no package {package}", where=f"Debian {self.suite}")
        return found[1]

    def with_missing(self, package: str) -> list[str]:
        """The package, and what it depends on that this machine has not."""
        told = run_bounded(["apt-get", *self._options, "install", "--simulate", "--no-install-recommends", package])
        return re.findall(r"^Inst (\S+)", told, re.MULTILINE) or [package]

    def unpack(self, packages: Sequence[str], target: Path) -> None:
        """Unpack the packages into the new folder `target`, which is there whole or not at all."""
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpack-") as scratch:
            run_bounded(["apt-get", *self._options, "download", *packages], cwd=scratch)
            unpacked = Path(scratch) / "root"
            for package in sorted(Path(scratch).glob("*.deb")):
                run_bounded(["dpkg-deb", "-x", str(package), str(unpacked)])
            unpacked.rename(target)

    def forget(self) -> None:
        """Give back the room that lists and cache take."""
        for name in ("lists", "archives"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for file in (*self.folder.glob("*pkgcache.bin"), self.folder / "sources.list"):
            file.unlink(missing_ok=True)


def run_bounded(argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None,
                timeout: float = _LARGEST_STEP) -> str:
    """What the program prints. Raises UnreachableError with its last words, TimedOutError after `timeout` seconds."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                              check=False, env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}, cwd=cwd)
    except subprocess.TimeoutExpired as error:
        raise TimedOutError(f"{argv[0]} was not done after {timeout:g} s") from error
    except OSError as error:
        raise ArintError(f"{argv[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()][-3:]
        raise UnreachableError(f"{argv[0]} failed: {' / '.join(words)[-500:]}")
    return done.stdout


@contextlib.contextmanager
def held(file: Path) -> Iterator[None]:
    """Only one process at a time is in here, for each `file`."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sources(suite: str) -> list[tuple[str, str]]:
    """Mirrors and suites, the main one first: those of the machine's own release, or its mirror with `suite`."""
    own = _release().get("VERSION_CODENAME", "")
    told = run_bounded(["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)",
                        "Created-By: Packages"])
    found = dict.fromkeys(tuple(line.split("|")) for line in told.splitlines() if line.endswith("|main"))
    ours = [(uri, release) for uri, release, _ in found if own and (release == own or release.startswith(f"{own}-"))]
    mirror = next((uri for uri, release in ours if release == own), "")
    if _release().get("ID") != "debian" or not mirror:
        raise NotFoundError("apt's sources name no mirror of Debian", where="/etc/apt",
                            remedy="only a machine with Debian can fetch its packages")
    ours.sort(key=lambda source: source[1] != own)
    return [(mirror, suite)] if suite else ours


def _release() -> dict[str, str]:
    """What /etc/os-release says."""
    try:
        text = _OS_RELEASE.read_text()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value.strip().strip('"') for name, _, value in pairs}
