"""Manifests: YAML files and folders in, declared resources out; or every problem there is, each with its place.

Nothing is half read: either all is right, or `load` raises one NotValidError that holds all problems.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path as FilePath

import msgspec

from arint.resources.canonical import plain
from arint.resources.checking import Mistake
from arint.resources.documents import LARGEST_FILE, BadYamlError, Node, read
from arint.resources.kinds import KINDS, Resource, key_of
from arint.resources.problems import Location, Path, Problem, path_text, refuse
from arint.resources.together import mistakes_together
from arint.resources.written import Document, document_of

SUFFIXES = (".yaml", ".yml")
RECORDED = ".expected.yaml"
"""What `flow test --record` writes beside a sample is no manifest, wherever the samples are."""
STDIN = FilePath("-")


class Text(msgspec.Struct, frozen=True):
    """A manifest that has been read: what to call it, what it says, and where its relative file names begin."""

    file: str
    content: str
    folder: FilePath


class Declared(msgspec.Struct, frozen=True):
    """A resource, where it is declared, and the folder to which its file names (code, secrets) are relative."""

    resource: Resource
    location: Location
    folder: FilePath
    node: Node | None = None

    def place(self, path: Path) -> Location:
        """Where a field stands; or the nearest thing around it."""
        if self.node is None:
            return self.location
        return Location(self.location.file, *self.node.locate(path))

    @property
    def key(self) -> str:
        """`Kind/name`."""
        return key_of(self.resource)


def load(paths: Iterable[FilePath | str], *, existing: Iterable[Resource] = ()) -> list[Declared]:
    """The resources of these files and folders (their *.yaml and *.yml, not those of folders within).

    The path `-` is standard input; what it names is relative to the working directory.
    References may lead to what is declared here or to `existing` resources. In the order of `KINDS`, what is referred
    to first; within a kind as declared. Raises NotValidError with all problems.
    """
    declared, problems = examine(paths, existing=existing)
    refuse(problems)
    return declared


def examine(paths: Iterable[FilePath | str], *,
            existing: Iterable[Resource] = ()) -> tuple[list[Declared], list[Problem]]:
    """As `load`, but what is right in itself comes with all problems of the rest: a caller can go on looking."""
    reader = _Reader()
    for file in reader.files(FilePath(path) for path in paths):
        if (text := reader.text(file)) is not None:
            reader.declare(text)
    return reader.finish(existing), reader.problems


def load_text(text: Text, *, existing: Iterable[Resource] = ()) -> list[Declared]:
    """As `load`, for a manifest that is at hand, such as standard input or an edited export."""
    reader = _Reader()
    reader.declare(text)
    declared = reader.finish(existing)
    refuse(reader.problems)
    return declared


class _Found(msgspec.Struct, frozen=True):
    document: Document
    node: Node
    location: Location
    folder: FilePath


class _Reader:
    """Collects resources and problems, document after document."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.found: dict[str, _Found] = {}
        """By key; valid or not, so that a reference to a document with a mistake does not seem to lead nowhere."""

    def files(self, paths: Iterable[FilePath]) -> Iterator[FilePath]:
        seen: set[FilePath] = set()
        for path in paths:
            for file in self._in(path):
                if (place := file.resolve()) not in seen:
                    seen.add(place)
                    yield file

    def _in(self, path: FilePath) -> Sequence[FilePath]:
        if not path.is_dir():
            return [path]
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and file.is_file()
                       and not file.name.endswith(RECORDED))
        if not files:
            self._report(str(path), "holds no manifest", "a manifest's name ends in .yaml or .yml")
        return files

    def text(self, file: FilePath) -> Text | None:
        """The file's text; or None, and a problem."""
        try:
            with contextlib.nullcontext(sys.stdin.buffer) if file == STDIN else file.open("rb") as stream:
                data = stream.read(LARGEST_FILE + 1)
            if len(data) > LARGEST_FILE:
                self._report(str(file), f"larger than {LARGEST_FILE} bytes", "split it into several files")
                return None
            return Text(str(file), data.decode("utf-8-sig"), file.absolute().parent)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self._report(str(file), "this is not UTF-8", line=line, column=1)
        except OSError as error:
            self._report(str(file), f"cannot be read: {error.strerror or error}")
        return None

    def declare(self, text: Text) -> None:
        """Take in every document, up to the first place that is no YAML."""
        try:
            for node in read(text.content):
                self._document(node, text)
        except BadYamlError as error:
            self._report(text.file, str(error), line=error.mark.line, column=error.mark.column)

    def _document(self, node: Node, text: Text) -> None:
        for path, mark in node.all_duplicates():
            self._report(text.file, f'the key "{path[-1]}" stands here a second time', line=mark.line,
                         column=mark.column, path=path_text(path))
        document = document_of(node.value(), text.folder)
        for mistake in document.mistakes:
            self._mistake(text.file, node, mistake)
        key = f"{document.written.get('kind')}/{document.written.get('name')}"
        if key in self.found:
            self._mistake(text.file, node, Mistake(("name",), f"{key} is declared twice",
                                                   f"also in {self.found[key].location}"))
        elif document.written:
            self.found[key] = _Found(document, node, Location(text.file, *node.mark), text.folder)

    def finish(self, existing: Iterable[Resource]) -> list[Declared]:
        """What resources say of each other; then the resources that are right in themselves."""
        declared = {key: found.document.written for key, found in self.found.items()}
        present = {key_of(resource): plain(resource) for resource in existing}
        for key, mistake in mistakes_together(declared, present):
            found = self.found[key]
            if mistake not in found.document.mistakes:
                self._mistake(found.location.file, found.node, mistake)
        resources = [Declared(found.document.resource, found.location, found.folder, found.node)
                     for found in self.found.values()
                     if found.document.resource is not None and not found.document.mistakes]
        order = list(KINDS)
        return sorted(resources, key=lambda item: order.index(item.key.partition("/")[0]))

    def _mistake(self, file: str, node: Node, mistake: Mistake) -> None:
        mark = node.locate(mistake.path, key=mistake.on_key)
        self._report(file, mistake.message, mistake.suggestion, line=mark.line, column=mark.column,
                     path=path_text(mistake.path))

    def _report(self, file: str, message: str, suggestion: str = "", *, line: int = 0, column: int = 0,
                path: str = "") -> None:
        self.problems.append(Problem(file, line, column, path, message, suggestion))
