"""JSON in and out of messages: whatever a sender may send is a value or a RejectedError, never a crash."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from arint.errors import MalformedError, RejectedError

DEEPEST = 256
"""Objects and arrays within each other. Deep values overflow the stacks of what reads them: CEL's Rust at 9,000."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_NOT_BRACKETS = bytes(sign for sign in range(256) if sign not in b"[]{}")
_LEVELS = 16
"""As deep as most data is. What is deeper is read, which ends early for what is much deeper."""
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def parse_json(body: bytes) -> Any:
    """The value of a JSON text. Raises MalformedError, which names the place, for all that is none."""
    if nested_too_deep(body):
        raise _too_deep()
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise json_mistake(body, error) from None


def json_mistake(body: bytes, error: Exception) -> MalformedError:
    """What msgspec raised, in words."""
    if isinstance(error, RecursionError):
        return _too_deep()
    try:
        body.decode()
    except UnicodeDecodeError as mistake:
        return MalformedError(f"the body is not UTF-8: byte {mistake.start}")
    return MalformedError(f"the body is not JSON: {error}" if body.strip() else "the body is empty, not JSON")


def write_json(value: Any) -> bytes:
    """The JSON text of a value. Raises RejectedError for what has none."""
    try:
        return _encode(value)
    except RecursionError:
        what = "the new body is nested too deep"
    except (TypeError, ValueError, OverflowError) as error:
        what = f"the new body cannot be written as JSON: {error}"
    raise RejectedError(what)


def nested_too_deep(body: bytes) -> bool:
    """Whether more than DEEPEST objects and arrays stand within each other.

    Few brackets cannot nest deep: that settles almost every message in 0.1 µs. Else innermost pairs are taken away
    level by level, at the speed of memcpy; brackets within strings may leave a rest, which is then read exactly.
    """
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    brackets = body.translate(None, _NOT_BRACKETS)
    for level in range(1, _LEVELS):
        fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(fewer) + level <= DEEPEST:
            return False
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    return _depth(body) > DEEPEST


def _depth(body: bytes) -> int:
    depth = deepest = 0
    for token in _TOKENS.finditer(body):
        sign = token[0]
        if sign in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
            if depth > DEEPEST:
                break
        elif sign in (b"]", b"}"):
            depth -= 1
    return deepest


def _too_deep() -> MalformedError:
    return MalformedError(f"the body is nested too deep: at most {DEEPEST} objects and arrays within each other",
                          remedy="the sender must send it otherwise")
