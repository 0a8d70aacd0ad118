"""What must not be shown of a message: values whose names look secret, and what a flow or channel declares.

The stored message is never touched; what is shown of it goes through here. Everything is pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

MASK = "***"
_SECRET = re.compile(r"(^|[-_.])(authorization|cookie|pass(word|wd|phrase)?|pwd|secret|credentials?|token|pin|"
                     r"cvv2?|cvc|(api|access|private)[-_]?key|x-.*-key)($|[-_.])", re.IGNORECASE)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PAIR = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:\s*)("(?:[^"\\]|\\.)*"?|[-\w.+]+)')
_FIELD = re.compile(r"(?:(?<=^)|(?<=&))([^=&\s]+)=([^&\s]*)")
_ELEMENT = re.compile(r"<([\w.:-]+)((?:\s[^<>]*)?)>([^<>]*)</\1\s*>")


def looks_secret(name: str) -> bool:
    """Does a header or a field of this name hold what nobody should read?"""
    return _SECRET.search(_CAMEL.sub("_", name)) is not None


class Masks:
    """Declared paths (`body.card.number`, `headers.x-key`, `vars.pin`) beside the names that look secret.

    A path goes through lists by itself, and takes all below it. `body` alone hides the body whole.
    """

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self._paths = [tuple(path.split(".")) for path in paths]

    def may_hide(self, path: str) -> bool:
        """Might a scalar at this path (`body.card.number`) be hidden? Rather yes than no."""
        parts = path.split(".")
        return looks_secret(parts[-1]) or any(declared[0] == parts[0] for declared in self._paths)

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers as they may be shown."""
        declared = {path[1].lower() for path in self._of("headers") if len(path) > 1}
        return {name: MASK if name.lower() in declared or self._is_whole("headers") or looks_secret(name) else value
                for name, value in headers.items()}

    def variables(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The variables as they may be shown."""
        return dict(self.value(variables, "vars"))

    def value(self, value: Any, root: str = "body") -> Any:
        """A body's value as it may be shown."""
        if self._is_whole(root):
            return MASK
        return _masked(value, [path[1:] for path in self._of(root)])

    def body(self, body: bytes, content_type: str, *, whole: bool = True) -> bytes:
        """A body as it may be shown: with masks where it is JSON, a form or like XML; untouched if nothing is masked.

        What is cut (`whole` is off) or cannot be read is searched for names, the last ones of declared paths too.
        """
        if self._is_whole("body"):
            return MASK.encode()
        if whole:
            try:
                value = msgspec.json.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                masked = self.value(value)
                return body if masked == value else msgspec.json.encode(masked)
        return self._searched(body, content_type)

    def _searched(self, body: bytes, content_type: str) -> bytes:
        names = {path[-1] for path in self._of("body")}

        def hides(name: str) -> bool:
            return name in names or looks_secret(name)

        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            text = body[:error.start].decode() if error.start >= len(body) - 4 else ""
            if not text:
                return body if not names else MASK.encode()
        masked = _PAIR.sub(_hiding(hides, lambda m: f'"{m[1]}"{m[2]}"{MASK}"'), text)
        masked = _ELEMENT.sub(_hiding(hides, lambda m: f"<{m[1]}{m[2]}>{MASK}</{m[1]}>"), masked)
        if "form" in content_type:
            masked = _FIELD.sub(_hiding(hides, lambda m: f"{m[1]}={MASK}"), masked)
        return body if masked == text else masked.encode()

    def _of(self, root: str) -> list[tuple[str, ...]]:
        return [path for path in self._paths if path[0] == root]

    def _is_whole(self, root: str) -> bool:
        return (root,) in self._paths


def _hiding(hides: Callable[[str], bool], write: Callable[[re.Match[str]], str]) -> Callable[[re.Match[str]], str]:
    return lambda found: write(found) if hides(found[1]) else found[0]


def _masked(value: Any, paths: list[tuple[str, ...]]) -> Any:
    """With masks in place of what the paths lead to, and of what stands under names that look secret."""
    if isinstance(value, list):
        return [_masked(item, paths) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {key: _field(str(key), item, [path[1:] for path in paths if path[0] in (key, "*")])
            for key, item in value.items()}


def _field(name: str, value: Any, paths: list[tuple[str, ...]]) -> Any:
    if () in paths:
        return MASK
    if looks_secret(name) and value not in (None, ""):
        return MASK
    return _masked(value, paths)
