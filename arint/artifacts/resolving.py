"""From requirements to exact versions and hashes, with pip: nothing is installed, and no code of a package is run.

pip is a program of its own, with its own configuration (which index, which certificates). It is shown an environment
that holds what ARINT has and nothing else, so that what is there is not shipped, and what contradicts it is seen.
Only wheels are taken: a source distribution would run its author's code where somebody applies a manifest.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from arint.artifacts.known import KNOWN
from arint.artifacts.provided import installed, provided
from arint.errors import ArintError, NotValidError, TimedOutError, UnreachableError
from arint.here import platform_here, python_here
from arint.resources.kinds import Locked
from arint.resources.problems import nearest
from arint.resources.requirements import LARGEST_LIST, Package, packages_of

WITHIN = 600.0
"""Seconds that pip may take, its own tries and timeouts included."""
_ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REPORT", "PIP_DRY_RUN", "PIP_LOG",
              "PIP_NO_BINARY", "PIP_ONLY_BINARY", "PIP_REQUIREMENT", "PIP_CONSTRAINT", "PIP_PYTHON")
"""Settings of pip that mean where else to install, or what besides."""
_ASKED = re.compile(r"(?:the requirement|found for) ([^\s(]+)")
_UNREACHABLE = re.compile(r"Retrying \(Retry|Failed to establish|Name or service not known|Connection refused|"
                          r"connection broken|SSLError|ProxyError|Max retries exceeded", re.IGNORECASE)
_MOST_VERSIONS = 8


class UnresolvedError(NotValidError):
    """Requirements that cannot be met; `requirement` is the one to blame, where pip says which."""

    def __init__(self, what: str, *, requirement: str = "", remedy: str | None = None) -> None:
        super().__init__(what, remedy=remedy)
        self.requirement = requirement


def resolve(requirements: Sequence[str], wheelhouse: Path | None = None) -> Locked:
    """The exact packages that meet the requirements beside what ARINT has, dependencies included.

    With a `wheelhouse`, a folder of wheels, only those are looked at, and nothing is asked of any index.
    Raises UnresolvedError, UnreachableError where no index answers, TimedOutError, ArintError without a pip.
    """
    _refuse_conflicts(requirements)
    with tempfile.TemporaryDirectory(prefix="arint-resolve-") as name:
        folder = Path(name)
        report = folder / "report.json"
        done = _pip(folder, ["install", "--dry-run", "--report", str(report), "--only-binary", ":all:",
                             "--progress-bar", "off", *_from(wheelhouse), *_wanted(folder, requirements)],
                    offline=wheelhouse is not None)
        if done.returncode:
            raise _unresolved(done, requirements, wheelhouse, folder)
        chosen = msgspec.json.decode(report.read_bytes())["install"]
    _refuse_shadowed(chosen)
    packages = sorted(_package(item) for item in chosen)
    if len(packages) > LARGEST_LIST:
        raise UnresolvedError(f"the requirements need {len(packages)} packages; at most {LARGEST_LIST} are shipped")
    return Locked(python_here(), platform_here(), [str(package) for package in packages])


def fetch(packages: Sequence[Package], folder: Path, wheelhouse: Path | None = None) -> list[Path]:
    """The wheels of these packages, each of which has the hash that was locked, in `folder`. Raises as `resolve`."""
    lines = folder / "locked.txt"
    lines.write_text("".join(f"{package}\n" for package in packages))
    into = folder / "wheels"
    done = _pip(folder, ["download", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--progress-bar", "off",
                         "--dest", str(into), *_from(wheelhouse), "--requirement", str(lines)],
                offline=wheelhouse is not None)
    if done.returncode:
        raise _unresolved(done, [f"{one.name}=={one.version}" for one in packages], wheelhouse, folder)
    return sorted(into.glob("*.whl"))


def usable(locked: Locked, requirements: Sequence[str]) -> bool:
    """Whether a set that was resolved before still is an answer: here, to these, beside what ARINT has now."""
    if (locked.python, locked.platform) != (python_here(), platform_here()):
        return False
    versions = {package.name: package.version for package in packages_of(locked)}
    shadowed = any((there := installed(name)) is not None and there.version != version
                   for name, version in versions.items())
    return not shadowed and all(fits(text, versions) for text in requirements)


def fits(requirement: str, packages: Mapping[str, str]) -> bool:
    """Whether a locked set (`packages`: versions by name), or else what ARINT has, meets the requirement."""
    wanted = Requirement(requirement)
    if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
        return True
    name = canonicalize_name(wanted.name)
    there = provided().get(name)
    version = packages.get(name) or (there.version if there is not None else "")
    return bool(version) and wanted.specifier.contains(version, prereleases=True)


def _refuse_conflicts(requirements: Sequence[str]) -> None:
    """What contradicts a package of ARINT's own is known before anybody is asked."""
    for text in requirements:
        wanted = Requirement(text)
        there = provided().get(canonicalize_name(wanted.name))
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if there is not None and applies and not wanted.specifier.contains(there.version, prereleases=True):
            raise UnresolvedError(
                f"{text} contradicts {there.name} {there.version}, which ARINT itself runs with",
                requirement=text, remedy=_FIRST.format(version=there.version))


_FIRST = ("a service's packages never go ahead of ARINT's own: ask for a version that {version} satisfies, or leave "
          "the version open")


def _refuse_shadowed(chosen: Sequence[Mapping[str, Any]]) -> None:
    """What a dependency needs in another version than is installed here would be shadowed, silently."""
    for item in chosen:
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        there = installed(name)
        if there is None or there.version == version:
            continue
        needing = sorted(other["metadata"]["name"] for other in chosen
                         if any(_names(line) == canonicalize_name(name)
                                for line in other["metadata"].get("requires_dist", ())))
        by = f"{' and '.join(needing)} of " if needing else ""
        whose = "ARINT itself runs with" if canonicalize_name(name) in provided() else "ARINT's environment has"
        raise UnresolvedError(f"{by}the requirements need {name} {version}, and {whose} {there.version}",
                              requirement=needing[0] if needing else name,
                              remedy=_FIRST.format(version=there.version))


def _names(requirement: str) -> str:
    try:
        return canonicalize_name(Requirement(requirement).name)
    except InvalidRequirement:
        return ""


def _package(item: Mapping[str, Any]) -> Package:
    metadata, source = item["metadata"], item["download_info"]
    name = canonicalize_name(metadata["name"])
    hashes = source.get("archive_info", {}).get("hashes", {})
    address = urlsplit(source["url"])
    sha256 = hashes.get("sha256")
    if not sha256 and address.scheme == "file":
        sha256 = hashlib.sha256(Path(unquote(address.path)).read_bytes()).hexdigest()
    if not sha256:
        raise UnresolvedError(f"the index tells no SHA-256 of {name} {metadata['version']}", requirement=name,
                              remedy="download it into a folder named wheelhouse beside the manifest")
    return Package(name, metadata["version"], sha256)


def _from(wheelhouse: Path | None) -> list[str]:
    return ["--no-index", "--find-links", str(wheelhouse)] if wheelhouse is not None else []


def _wanted(folder: Path, requirements: Sequence[str]) -> list[str]:
    """Through a file: no requirement is taken for an option."""
    file = folder / "requirements.txt"
    file.write_text("".join(f"{line}\n" for line in requirements))
    return ["--requirement", str(file)]


def _pip(folder: Path, words: Sequence[str], *, offline: bool) -> subprocess.CompletedProcess[str]:
    """Run pip for an environment that has what ARINT has."""
    python = _environment(folder)
    environment = {name: value for name, value in os.environ.items() if name.upper() not in _ELSEWHERE}
    if offline:
        environment = {name: value for name, value in environment.items() if not name.upper().startswith("PIP_")}
        environment["PIP_CONFIG_FILE"] = os.devnull
    try:
        return subprocess.run([*_program(), "--python", str(python), "--no-input", "--disable-pip-version-check",
                               *words], capture_output=True, text=True, errors="replace", check=False, timeout=WITHIN,
                              env=environment, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise TimedOutError(f"pip did not end within {WITHIN:g} s",
                            remedy="see whether the package index of pip's configuration answers") from None


def _program() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if found := shutil.which("pip"):
        return [found]
    raise ArintError("requirements need pip, and there is none", where=sys.executable,
                     remedy=f"{sys.executable} -m ensurepip")


def _environment(folder: Path) -> Path:
    """The Python of an environment in which ARINT's packages seem to be installed: what is known of them is linked."""
    root = folder / "environment"
    python = root / "bin" / "python"
    if not root.exists():
        venv.create(root, with_pip=False, symlinks=True)
        packages = next(root.glob("lib/python*/site-packages"))
        for there in provided().values():
            known = getattr(there, "_path", None)
            if isinstance(known, Path):
                (packages / known.name).symlink_to(known.absolute())
    return python


def _unresolved(done: subprocess.CompletedProcess[str], requirements: Sequence[str], wheelhouse: Path | None,
                folder: Path) -> ArintError:
    """pip's reason, which requirement is to blame, and what may be meant."""
    said = done.stdout + done.stderr
    reasons = _reasons(said)
    blamed = next((found[1] for line in reasons if (found := _ASKED.search(line))), "")
    known = {_names(text): text for text in requirements}
    name = _names(blamed)
    if not name:
        return UnresolvedError("; ".join(reasons) or f"pip ended with {done.returncode}",
                               requirement=_first_named(reasons, requirements))
    if "from versions: none" not in said:
        return UnresolvedError("; ".join(reasons), requirement=known.get(name, blamed))
    if wheelhouse is not None:
        what = f"no wheel of {name} for Python {python_here()} on {platform_here()} is in {wheelhouse}"
        hint = _near(name, _names_in(wheelhouse) - {name})
        return UnresolvedError(what, requirement=known.get(name, blamed),
                               remedy=hint or f"pip wheel --wheel-dir {wheelhouse} '{known.get(name, name)}'")
    if _UNREACHABLE.search(said):
        return UnreachableError("the package index that pip is set up for does not answer",
                                where=f"requirement {known.get(name, blamed)}",
                                remedy="without a network: --wheelhouse FOLDER, with all wheels in it")
    versions = _pip(folder, ["index", "versions", name], offline=False)
    if versions.returncode == 0 and (first := versions.stdout.splitlines()[:1]):
        return UnresolvedError(
            f"there is no wheel of {first[0]} for Python {python_here()} on {platform_here()}, only source, and none "
            "is built at apply", requirement=known.get(name, blamed),
            remedy=f"build it once, where its code may run: pip wheel --wheel-dir wheelhouse {_quoted(requirements)}")
    return UnresolvedError(f"the package index knows no package {name}", requirement=known.get(name, blamed),
                           remedy=_near(name, KNOWN) or "see how it is spelled")


def _reasons(said: str) -> list[str]:
    """The lines that say why: pip's errors, and the conflict that it explains; the last versions of a long list."""
    lines = said.splitlines()
    reasons = [line.removeprefix("ERROR: ").rstrip(".") for line in lines
               if line.startswith("ERROR:") and "ResolutionImpossible" not in line and "No matching dist" not in line]
    if "The conflict is caused by:" in lines:
        start = lines.index("The conflict is caused by:") + 1
        end = next((number for number, line in enumerate(lines[start:], start) if not line.strip()), len(lines))
        reasons.append(", ".join(line.strip() for line in lines[start:end][:10]))
    return [re.sub(r"\(from versions: (.*)\)", lambda found: _newest(found[1]), line) for line in reasons[:5]]


def _newest(versions: str) -> str:
    known = versions.split(", ")
    told = ", ".join(known[-_MOST_VERSIONS:])
    return f"(from versions: {'…, ' if len(known) > _MOST_VERSIONS else ''}{told})"


def _first_named(reasons: Sequence[str], requirements: Sequence[str]) -> str:
    text = " ".join(reasons)
    return next((one for one in requirements if one in text or Requirement(one).name in text), "")


def _names_in(wheelhouse: Path) -> set[str]:
    found = set()
    for file in wheelhouse.glob("*.whl"):
        try:
            found.add(str(parse_wheel_filename(file.name)[0]))
        except InvalidWheelFilename:
            continue
    return found


def _near(name: str, known: Iterable[str]) -> str:
    """What may be meant; empty where nothing is near."""
    found = nearest(name, known)
    return found if found.startswith("did you mean") else ""


def _quoted(requirements: Sequence[str]) -> str:
    return " ".join(f"'{one}'" for one in requirements[:5])
