"""YAML documents with the position of everything in them, read within bounds; and written so that they read back.

The reader takes libyaml's events and builds its own tree, because PyYAML's composer recurses without a bound in C,
expands aliases without a bound, and forgets duplicate keys. Scalars follow the core schema of YAML 1.2, so that `no`,
`on`, `12:30` and `2024-01-01` stay text; keys are always text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
import yaml

from arint.resources.problems import Path

LARGEST_FILE = 5 * 2**20
DEEPEST = 100
MOST_NODES = 200_000
"""Values in one document, aliases expanded: far more than fit into a resource."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_CONSTANTS = {"": None, "~": None, "null": None, "Null": None, "NULL": None,
              "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TAGS = {None, "!", *(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq"))}


class Mark(NamedTuple):
    """A position; both count from 1."""

    line: int
    column: int


class BadYamlError(Exception):
    """This cannot be read, and why; the reader has stopped here."""

    def __init__(self, message: str, mark: Mark) -> None:
        super().__init__(message)
        self.mark = mark


class Node(msgspec.Struct):
    """A value with its position: `content` is a scalar, a list of nodes, or a dict of nodes."""

    mark: Mark
    content: Any
    keys: dict[str, Mark] = {}
    duplicates: list[tuple[str, Mark]] = []

    def value(self) -> Any:
        """The plain data."""
        if isinstance(self.content, list):
            return [item.value() for item in self.content]
        if isinstance(self.content, dict):
            return {key: item.value() for key, item in self.content.items()}
        return self.content

    def locate(self, path: Path, *, key: bool = False) -> Mark:
        """Where the value at `path` stands (with `key`: where its key stands); or the nearest thing around it."""
        node, mark = self, self.mark
        for part in path:
            if isinstance(node.content, dict) and part in node.content:
                mark, node = node.keys[str(part)], node.content[part]
            elif isinstance(node.content, list) and isinstance(part, int) and part < len(node.content):
                node = node.content[part]
                mark = node.mark
            else:
                return mark
        return mark if key else node.mark

    def all_duplicates(self, path: Path = ()) -> Iterator[tuple[Path, Mark]]:
        """Every key that stands a second time in its mapping."""
        yield from (((*path, key), mark) for key, mark in self.duplicates)
        children: Iterable[tuple[Any, Node]] = ()
        if isinstance(self.content, dict):
            children = self.content.items()
        elif isinstance(self.content, list):
            children = enumerate(self.content)
        for part, child in children:
            yield from child.all_duplicates((*path, part))


def read(text: str) -> Iterator[Node]:
    """The documents of a YAML text, one after the other; empty ones are left out. Raises BadYamlError."""
    try:
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                document = _Composer(events).document()
                if document.content is not None:
                    yield document
    except yaml.reader.ReaderError as error:
        raise BadYamlError(f"a character that YAML does not allow: #x{ord(error.character):04x}"
                           if isinstance(error.character, str) else str(error.reason), Mark(1, 1)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise BadYamlError(f"this is no YAML: {error.problem or error.context}", _mark(mark)) from None


class _Composer:
    """Builds one document's tree from events, bounded in depth and in values."""

    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.anchors: dict[str, Node] = {}
        self.sizes: dict[int, tuple[int, int]] = {}
        """Values in and levels below an anchored node, both counted with aliases expanded."""

    def document(self) -> Node:
        node, _, _ = self.node(next(self.events), 0)
        next(self.events)
        return node

    def node(self, event: Any, depth: int) -> tuple[Node, int, int]:
        """The node that begins with this event, its number of values, and its height."""
        mark = _mark(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, mark, depth)
        if event.tag not in _TAGS:
            raise BadYamlError(f"the tag {event.tag} is not supported", mark)
        if depth > DEEPEST:
            raise BadYamlError(f"nested more than {DEEPEST} levels deep", mark)
        if isinstance(event, yaml.ScalarEvent):
            node, size, height = Node(mark, _scalar(event, mark)), 1, 0
        elif isinstance(event, yaml.SequenceStartEvent):
            node, size, height = self.sequence(mark, depth)
        else:
            node, size, height = self.mapping(mark, depth)
        if size > MOST_NODES:
            raise BadYamlError(f"more than {MOST_NODES} values in one document, aliases expanded", mark)
        if event.anchor:
            self.anchors[event.anchor] = node
            self.sizes[id(node)] = (size, height)
        return node, size, height

    def alias(self, event: Any, mark: Mark, depth: int) -> tuple[Node, int, int]:
        """What the alias stands for. An anchor counts only once it is complete, so there are no cycles."""
        node = self.anchors.get(event.anchor)
        if node is None:
            raise BadYamlError(f"*{event.anchor} has no anchor before it", mark)
        size, height = self.sizes[id(node)]
        if depth + height > DEEPEST:
            raise BadYamlError(f"nested more than {DEEPEST} levels deep", mark)
        return node, size, height

    def sequence(self, mark: Mark, depth: int) -> tuple[Node, int, int]:
        items: list[Node] = []
        size, height = 1, 0
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            item, values, levels = self.node(event, depth + 1)
            items.append(item)
            size, height = size + values, max(height, levels + 1)
        return Node(mark, items), size, height

    def mapping(self, mark: Mark, depth: int) -> tuple[Node, int, int]:
        items: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        duplicates: list[tuple[str, Mark]] = []
        size, height = 1, 0
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key, key_mark = _key(event)
            item, values, levels = self.node(next(self.events), depth + 1)
            size, height = size + values, max(height, levels + 1)
            if key in items:
                duplicates.append((key, key_mark))
            items[key], keys[key] = item, key_mark
        return Node(mark, items, keys, duplicates), size, height


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark is not None else Mark(1, 1)


def _key(event: Any) -> tuple[str, Mark]:
    mark = _mark(event.start_mark)
    if not isinstance(event, yaml.ScalarEvent):
        raise BadYamlError("a key must be a single word or text", mark)
    if event.value == "<<" and event.implicit[0]:
        raise BadYamlError("merge keys (<<) are not supported; write the keys out", mark)
    return _unicode(event.value, mark), mark


def _scalar(event: Any, mark: Mark) -> Any:
    text = _unicode(event.value, mark)
    if event.implicit[0]:
        return _plain_scalar(text, mark)
    if event.tag in (None, "!", "tag:yaml.org,2002:str"):
        return text
    return _plain_scalar(text, mark)


def _plain_scalar(text: str, mark: Mark) -> Any:
    """A scalar without quotes: null, true, false, a number, or text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return _integer(text, mark)
    if _FLOAT.fullmatch(text):
        return _float(text, mark)
    return text


def _integer(text: str, mark: Mark) -> int:
    # 20 digits first: int() of a long text is slow, and refused by Python from 4300 digits on.
    number = int(text, 0) if len(text) <= 20 else 2**64
    if not -(2**63) <= number < 2**64:
        raise BadYamlError("a number that does not fit into 64 bits; write it as text, in quotes", mark)
    return number


def _float(text: str, mark: Mark) -> float:
    number = float(text.replace(".inf", "inf").replace(".nan", "nan")) if text[-1].isdigit() or text[-1] == "." \
        else math.inf
    if not math.isfinite(number):
        raise BadYamlError("infinity and not-a-number cannot be stored; write it as text, in quotes", mark)
    return number


def _unicode(text: str, mark: Mark) -> str:
    """YAML's escapes can write half a character (a lone surrogate), which is no Unicode text."""
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise BadYamlError("half of a surrogate pair is no character", mark)
    return text


class _Dumper(yaml.SafeDumper):
    """Quotes whatever our reader or one of YAML 1.1 would take for something else than text; never uses aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Several lines stand as a block, where that is exact; what is not printable is quoted with escapes."""
    lines = text.split("\n")
    style = None
    if not all(line.isprintable() for line in lines):
        style = '"'
    elif len(lines) > 1:
        exact = lines[0] and not text.startswith(" ") and all(line == line.rstrip() for line in lines)
        style = "|" if exact else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
for _tag, _pattern in (("int", _INTEGER), ("int", _HEXADECIMAL), ("float", _FLOAT)):
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern.pattern})$"),
                                  list("-+.0123456789"))


def dump(documents: list[dict[str, Any]]) -> str:
    """The documents as one YAML text; `read` gives back the same."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110,
                         explicit_start=len(documents) > 1)
