"""Lines and answers, pure: whatever is in a body comes back; whatever a program writes is met."""

from __future__ import annotations

import contextlib
import json

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from arint.command.frames import Answer, answer_of, reply_of, request_line
from arint.errors import ArintError, RejectedError
from arint.message import Message
from arint.sdk import Context
from tests.resources.strategies import mappings

JSON = st.recursive(st.none() | st.booleans() | st.integers(-2**53, 2**53) | st.text(), lambda inner:
                    st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6)


def message_of(body: bytes) -> tuple[Message, Context]:
    message = Message.new(body)
    return message, Context(message, service="s", stage="k")


@given(st.binary(max_size=300), st.dictionaries(st.text(), st.text(), max_size=3))
def test_a_request_is_one_line_that_holds_the_body(body: bytes, headers: dict[str, str]) -> None:
    message, context = message_of(body)
    message.headers = headers
    line = request_line("1", message, context)
    assert line.count(b"\n") == 1
    request = json.loads(line)
    assert request["headers"] == headers
    answer = {"id": "1", **{key: request[key] for key in ("body", "base64") if key in request}}
    found = answer_of(msgspec.json.encode(answer))
    assert found is not None
    assert reply_of(found, message, context).message.body == body


@given(JSON)
def test_json_is_taken_as_it_was_written(value: object) -> None:
    message, context = message_of(b"before")
    found = answer_of(json.dumps({"id": "1", "body": value}).encode())
    assert found is not None
    after = reply_of(found, message, context).message
    if value is None:
        assert after.body == b"before"
    elif isinstance(value, str):
        assert after.body == value.encode()
    else:
        assert after.body == json.dumps(value).encode()
        assert after.content_type == "application/json"


ANSWERS = st.fixed_dictionaries({"id": JSON}, optional=dict.fromkeys(
    ("body", "base64", "error", "sends", "headers", "content_type"), JSON))


@settings(max_examples=300)
@given(st.binary(max_size=100) | (mappings | ANSWERS).map(lambda value: json.dumps(value).encode()))
def test_whatever_is_written_is_an_answer_an_error_or_noise(line: bytes) -> None:
    message, context = message_of(b"")
    found = answer_of(line)
    if found is not None:
        with contextlib.suppress(ArintError):
            reply_of(found, message, context)


def test_what_a_line_cannot_hold_is_rejected() -> None:
    message, context = message_of(b"x" * (17 * 2**20))
    try:
        request_line("1", message, context)
    except RejectedError as error:
        assert "framing: http" in str(error)
    else:
        raise AssertionError("too large a line")


def test_deep_nonsense_is_noise() -> None:
    assert answer_of(b"[" * 100_000) is None
    assert answer_of(b'{"id": ' + b"[" * 100_000) is None
    assert answer_of(b'{"id": "1"}') == Answer("1")
