"""NDJSON: one JSON object a line. How a message becomes a line for a program, and its line an answer. Pure.

The fields are documented in docs/how-to/service-in-any-language.md.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from arint.errors import ArintError, MessageError, RejectedError, SystemUnavailableError
from arint.flows.state import Reply
from arint.message import Message
from arint.sdk import Context, with_result

HELLO = "hello"
"""The id of a program's first line: it is ready when it has answered it."""
LONGEST_LINE = 16 * 2**20
"""Bytes of one line, in either direction."""
_UNSET = msgspec.Raw()


class Failing(msgspec.Struct, omit_defaults=True):
    """`error` of an answer: an attempt is used, unless it says `reject` (never again) or `unavailable` (later)."""

    message: str = ""
    kind: str = ""
    reject: bool = False
    unavailable: bool = False
    retry_after: float | None = None


class Sending(msgspec.Struct, omit_defaults=True):
    """One of `sends`: a message to `flow/NAME`, `service/NAME`, `connection/NAME` or `topic/NAME`."""

    to: str
    body: msgspec.Raw = _UNSET
    base64: str | None = None
    headers: dict[str, str] = {}


class Answer(msgspec.Struct, omit_defaults=True):
    """What a program writes. `body` as a text is the body itself, as anything else its JSON; without: as it came.

    `concurrency` counts in the answer to the hello only.
    """

    id: str
    body: msgspec.Raw = _UNSET
    base64: str | None = None
    content_type: str = ""
    headers: dict[str, str] = {}
    error: Failing | None = None
    sends: list[Sending] = []
    concurrency: int = 1


class _Addressed(msgspec.Struct):
    id: str


class ProgramError(MessageError):
    """What a program said of a message that it could not process; `kind` in its own words."""

    def __init__(self, what: str, *, kind: str = "", where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.title = kind[:100] or MessageError.title


_encode = msgspec.json.Encoder().encode
_answer = msgspec.json.Decoder(Answer).decode
_addressed = msgspec.json.Decoder(_Addressed).decode


def hello_line(service: str, instance: str, config: Mapping[str, Any]) -> bytes:
    """The first line that a program is given."""
    return _encode({"id": HELLO, "type": "hello", "service": service, "instance": instance, "config": config}) + b"\n"


def request_line(identity: str, message: Message, context: Context) -> bytes:
    """A message for a program. Raises RejectedError for one that is too large for a line."""
    fields: dict[str, Any] = {
        "id": identity, "type": "message", "message": message.id, "key": context.stage, "attempt": message.attempt,
        "deadline": context.deadline, "content_type": message.content_type, "headers": message.headers}
    try:
        fields["body"] = message.body.decode()
    except UnicodeDecodeError:
        fields["base64"] = base64.b64encode(message.body).decode()
    line = _encode(fields) + b"\n"
    if len(line) > LONGEST_LINE:
        raise RejectedError(f"{len(message.body)} bytes are too large for a line of NDJSON",
                            remedy="framing: http takes larger ones")
    return line


def answer_of(line: bytes) -> Answer | None:
    """What a line says; None where it is no answer at all, but something that was printed.

    An answer whose other fields do not fit is one with an error that says so.
    """
    try:
        return _answer(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        try:
            identity = _addressed(line).id
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        return Answer(identity, error=Failing(f"the program's answer does not fit: {error}"))


def reply_of(answer: Answer, message: Message, context: Context) -> Reply:
    """The message as it goes on, with what is sent besides. Raises what the answer's `error` says."""
    if answer.error is not None:
        raise raised(answer.error, context.service)
    for sending in answer.sends:
        send(context, sending)
    result = with_result(message, _payload(answer.body, answer.base64))
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Reply(msgspec.structs.replace(result, content_type=answer.content_type or result.content_type,
                                         headers={**result.headers, **headers}), context.outputs)


def send(context: Context, sending: Sending) -> None:
    """Gather one of `sends`. Raises RejectedError for a target that there is none of."""
    payload = _payload(sending.body, sending.base64)
    if sending.to.startswith("topic/"):
        context.publish(sending.to, payload, headers=sending.headers)
    else:
        context.send(sending.to, payload, headers=sending.headers)


def raised(failing: Failing, service: str) -> ArintError:
    """The error that a program means."""
    what = failing.message or "the program gave no reason"
    if failing.reject:
        return RejectedError(f"{failing.kind}: {what}" if failing.kind else what, where=f"service/{service}")
    if failing.unavailable:
        return SystemUnavailableError(what, where=f"service/{service}", retry_after=failing.retry_after)
    return ProgramError(what, kind=failing.kind, where=f"service/{service}")


def _payload(body: msgspec.Raw, coded: str | None) -> Any:
    """None, bytes, or JSON as it was written."""
    if coded is not None:
        try:
            return base64.b64decode(coded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ProgramError(f"the program's base64 does not fit: {error}") from None
    written = bytes(body)
    if not written or written == b"null":
        return None
    return msgspec.json.decode(written, type=str).encode() if written.startswith(b'"') else body

