"""From manifests to what would be stored: code packed and named by its digest, secrets read and named by theirs.

Nothing is written here, so that `plan` and `apply` are the same up to the last step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from arint.errors import ArintError, NotValidError, TimedOutError, UnreachableError
from arint.operations.progress import Progress, silent
from arint.operations.requiring import Requiring
from arint.resources.kinds import Flow, Locked, Resource, Secret, Service, key_of
from arint.resources.manifests import Declared, examine
from arint.resources.problems import Path as FieldPath
from arint.resources.problems import Problem, path_text, refuse
from arint.resources.requirements import required_by
from arint.resources.services import shipped_files

if TYPE_CHECKING:
    from arint.home import Home
    from arint.security.sealing import Sealer


_DIGEST = re.compile(r"[0-9a-f]{64}")


class Desired(msgspec.Struct, frozen=True):
    """All resources as they shall be, and what must be stored beside them."""

    resources: dict[str, Resource]
    declared: tuple[str, ...]
    """Keys that the manifests hold; the others stay as they are."""
    artifacts: dict[str, bytes]
    secrets: dict[tuple[str, str], bytes]
    """Values by name and digest; in memory only."""
    sets: tuple[tuple[Locked, Path | None], ...] = ()
    """Packages that services require, and the wheelhouse they come from."""
    sources: dict[str, Path] = {}
    """Where the code was packed, by its digest: a traceback can then name the files that were written."""
    exported: dict[str, str] = {}
    """Services whose source is not here, by the digest of the code that was stored for them before."""


def desired_from(home: Home, paths: Sequence[Path], existing: Mapping[str, Resource], *, prune: bool,
                 wheelhouse: Path | None = None, upgrade: bool = False, progress: Progress = silent) -> Desired:
    """What the manifests ask for, over what exists (with `prune`: instead of it).

    `wheelhouse` and `upgrade` are about what services require, as `Requiring` has them.
    Raises NotValidError with every problem of every file, UnreachableError where no package index answers.
    """
    declared, problems = examine(paths, existing=() if prune else existing.values())
    reader = _Reader(home, existing, problems,
                     Requiring(existing, wheelhouse=wheelhouse, upgrade=upgrade, progress=progress))
    resources = {item.key: reader.complete(item) for item in declared}
    whole = resources if prune else {**existing, **resources}
    reader.compile(declared, whole)
    refuse(reader.problems)
    return Desired(whole, tuple(resources), reader.artifacts, reader.secrets, tuple(reader.requiring.sets),
                   reader.sources, reader.exported)


class _Reader:
    """Completes resource after resource, and collects problems."""

    def __init__(self, home: Home, existing: Mapping[str, Resource],
                 problems: Sequence[Problem], requiring: Requiring) -> None:
        self.home = home
        self.requiring = requiring
        self.existing = existing
        self.artifacts: dict[str, bytes] = {}
        self.sources: dict[str, Path] = {}
        self.exported: dict[str, str] = {}
        self.secrets: dict[tuple[str, str], bytes] = {}
        self.problems = list(problems)
        self._sealer: Sealer | None = None

    def complete(self, item: Declared) -> Resource:
        """The resource with the digests that only the machine of the apply can know."""
        try:
            if isinstance(item.resource, Service):
                return self._with_packages(self._with_code(item.resource, item.folder), item)
            if isinstance(item.resource, Secret):
                return self._with_digest(item.resource, item.folder)
        except (UnreachableError, TimedOutError):
            raise  # nothing is wrong with the manifests
        except (ArintError, OSError) as error:
            self._report(item, _origin(item.resource), error)
        return item.resource

    def compile(self, declared: Sequence[Declared], whole: Mapping[str, Resource]) -> None:
        """Every flow must compile with the flows it calls; only where the manifests are right so far."""
        from arint.flows.compile import compile_flow

        if self.problems:
            return
        flows = {flow.name: flow for flow in whole.values() if isinstance(flow, Flow)}
        for item in declared:
            if isinstance(item.resource, Flow):
                try:
                    compile_flow(item.resource, flows)
                except ArintError as error:
                    self._report(item, ("steps",), error)

    def _with_code(self, service: Service, folder: Path) -> Service:
        """Packed now if the source is here; what was exported names code that is stored already."""
        from arint.artifacts import pack, pack_files

        source = folder / service.source.partition(":")[0]
        names = shipped_files(service.command, folder)
        here = bool(names) and all((folder / name).is_file() for name in names) if service.command \
            else source.is_file()
        if not here and _DIGEST.fullmatch(service.code):
            self.exported[service.code] = service.name
            return service
        digest, packed = pack_files(folder, names, service.include) if service.command \
            else pack(source, service.include)
        self.artifacts[digest] = packed
        self.sources[digest] = folder if service.command else source.parent
        return msgspec.structs.replace(service, code=digest)

    def _with_packages(self, service: Service, item: Declared) -> Service:
        try:
            return msgspec.structs.replace(service, locked=self.requiring.locked(service, item.folder))
        except NotValidError as error:
            blamed = getattr(error, "requirement", "")
            words = required_by(service)
            self._report(item, ("requirements", *((words.index(blamed),) if blamed in words else ())), error)
            return service

    def _with_digest(self, secret: Secret, folder: Path) -> Secret:
        value = self._value(secret, folder)
        if value is None:
            known = self.existing.get(key_of(secret))
            digest = secret.digest or (known.digest if isinstance(known, Secret) else "")
            return msgspec.structs.replace(secret, digest=digest) if digest else self._unknown(secret)
        digest = self._ring().keyed_digest(value)
        self.secrets[secret.name, digest] = value
        return msgspec.structs.replace(secret, digest=digest)

    @staticmethod
    def _value(secret: Secret, folder: Path) -> bytes | None:
        """The value, where its source is at hand; one line break at the end of a file is not part of it."""
        source = secret.source
        if source is None:
            return None
        if source.env:
            text = os.environ.get(source.env)
            return None if text is None else text.encode()
        file = folder / Path(source.file).expanduser()
        return file.read_bytes().removesuffix(b"\n").removesuffix(b"\r") if file.is_file() else None

    @staticmethod
    def _unknown(secret: Secret) -> Secret:
        source = secret.source
        if source is None:
            raise ArintError("it has no value yet", remedy="first: arintctl secret set "
                             f"{secret.name}; or write from: {{env: NAME}} or from: {{file: PATH}}")
        what = f"${source.env} is not set" if source.env else f"there is no file {source.file}"
        raise ArintError(f"the value is not known: {what}", remedy="set it for this apply; it is sealed, then kept")

    def _ring(self) -> Sealer:
        from arint.security.sealing import Sealer

        self._sealer = self._sealer or Sealer.load(self.home)
        return self._sealer

    def _report(self, item: Declared, path: FieldPath, error: Exception) -> None:
        what = error.what if isinstance(error, ArintError) else str(error)
        remedy = (error.remedy or "") if isinstance(error, ArintError) else ""
        place = item.place(path)
        self.problems.append(Problem(place.file, place.line, place.column, path_text(path), f"{item.key}: {what}",
                                     remedy))


def _origin(resource: Resource) -> FieldPath:
    """The key that says where code or a value comes from."""
    if isinstance(resource, Service):
        return ("command",) if resource.command else ("source",)
    return ("from",)
