"""What a service requires of the package index: how it is written, and what it was resolved to. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from arint.resources.checking import Mistake
from arint.resources.problems import Path

if TYPE_CHECKING:
    from arint.resources.kinds import Locked, Service

LARGEST_LIST = 500
"""Requirements of one service, and packages that they may be resolved to."""
_COMMENT = re.compile(r"(^|\s)#.*$")


class Package(msgspec.Struct, frozen=True, order=True):
    """One wheel, by exact version and content. As text: a line that `pip install --require-hashes` reads."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def spoken(self) -> str:
        """As people say it."""
        return f"{self.name} {self.version}"


_LINE = re.compile(r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[^\s]+) --hash=sha256:(?P<sha256>[0-9a-f]{64})")


def package_of(line: str) -> Package:
    """The package of a line of `Locked.packages`. Raises ValueError."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"no package with its version and hash: {line[:200]!r}")
    return Package(**found.groupdict())


def packages_of(locked: Locked) -> list[Package]:
    """All packages of a set."""
    return [package_of(line) for line in locked.packages]


def set_digest(locked: Locked) -> str:
    """What the installed set is named by: the same packages for the same Python and platform, the same name."""
    text = "\n".join([locked.python, locked.platform, *sorted(locked.packages)])
    return hashlib.sha256(text.encode()).hexdigest()


def required_by(service: Service) -> tuple[str, ...]:
    """The requirements as a list, though a manifest may name a file (which reading it has put in its place)."""
    return tuple(service.requirements) if isinstance(service.requirements, list) else ()


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """The requirements in a file of pip's form, with their line numbers; comments and empty lines are left out."""
    pending, first = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        bare = _COMMENT.sub("", line).strip()
        first = first or number
        if bare.endswith("\\"):
            pending += bare[:-1]
            continue
        whole = (pending + bare).strip()
        if whole:
            yield first, whole
        pending, first = "", 0
    if pending.strip():
        yield first, pending.strip()


def mistakes_in(requirements: Iterable[object], path: Path) -> Iterator[Mistake]:
    """What is wrong in the requirements of one service."""
    known = list(requirements)
    if len(known) > LARGEST_LIST:
        yield Mistake(path, f"more than {LARGEST_LIST} requirements")
    for index, text in enumerate(known[:LARGEST_LIST]):
        if isinstance(text, str) and (told := wrong_with(text)):
            yield Mistake((*path, index), *told)


def wrong_with(text: str) -> tuple[str, str] | None:
    """What is wrong with a requirement, and what may be meant; None if nothing is."""
    from packaging.requirements import InvalidRequirement, Requirement

    if text.startswith("-"):
        return f"{text.split(maxsplit=1)[0]} is an option of pip", "pip's own configuration says where from"
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        wheel = "put the wheel into a folder named wheelhouse" if re.search(r"\.whl$|[/\\]", text) else ""
        return f"{text!r} is no requirement: {reason}", wheel or "such as babel or httpx>=0.28"
    if requirement.url:
        return "a requirement names a package and versions, not an address", (
            "put its wheel into a folder named wheelhouse beside the manifest")
    return None
