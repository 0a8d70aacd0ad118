"""Two values as people compare them: YAML, and where they differ line by line."""

from __future__ import annotations

import contextlib
import difflib
from typing import Any

import msgspec
import yaml

from arint.errors import RejectedError
from arint.flows.json_text import parse_json
from arint.message import Message


def as_yaml(value: Any) -> str:
    """The value as YAML that reads well; several lines of text as several lines."""
    return yaml.dump(msgspec.to_builtins(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def difference(expected: Any, found: Any, *, expected_name: str = "expected", found_name: str = "now") -> str:
    """Where they differ, as `diff -u` tells it; empty where they do not."""
    before, after = as_yaml(expected).splitlines(), as_yaml(found).splitlines()
    return "\n".join(difflib.unified_diff(before, after, expected_name, found_name, lineterm="", n=3))


def body_of(message: Message) -> Any:
    """The body for people: what its JSON says, else the text, else bytes (which YAML writes in base 64)."""
    if not message.body:
        return None
    if "json" in message.content_type:
        with contextlib.suppress(RejectedError):  # it says that it is JSON
            return parse_json(message.body)
    try:
        return message.body.decode()
    except UnicodeDecodeError:
        return message.body


class _Dumper(yaml.SafeDumper):
    """Safe, and without anchors: a value that stands twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
