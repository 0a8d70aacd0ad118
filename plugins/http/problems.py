"""What a caller is told when a request is not accepted: problem documents (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from math import ceil

import msgspec

from arint.statuses import status_of

CONTENT_TYPE = b"application/problem+json"
MESSAGE_ID = b"x-message-id"


class Document(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body. `type` is stable, so that a caller's program can tell the cases apart."""

    type: str
    title: str
    status: int
    detail: str


class Problem(Exception):
    """A request that is answered with an error; raised anywhere while it is handled.

    `kind` is the last part of the document's type; `headers` go with the answer.
    """

    def __init__(self, status: HTTPStatus, kind: str, detail: str, *,
                 headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = headers

    def body(self) -> bytes:
        """The document as JSON."""
        return msgspec.json.encode(Document(f"urn:arint:problem:{self.kind}", self.status.phrase, self.status,
                                            self.detail))

    def answer_headers(self) -> list[tuple[bytes, bytes]]:
        """All headers of the answer but Connection."""
        return [(b"content-type", CONTENT_TYPE), (b"content-length", b"%d" % len(self.body())), *self.headers]

    def raw_response(self) -> bytes:
        """The whole answer, for a connection on which no request could be read. It is closed afterwards."""
        lines = [b"HTTP/1.1 %d %s" % (self.status, self.status.phrase.encode())]
        lines += [name + b": " + value for name, value in self.answer_headers()]
        return b"\r\n".join([*lines, b"connection: close", b"", self.body()])


def malformed(detail: str) -> Problem:
    """400: what came cannot be understood."""
    return Problem(HTTPStatus.BAD_REQUEST, "malformed", detail)


def unauthorized(challenge: bytes) -> Problem:
    """401: no credentials, or wrong ones; which, is not told."""
    return Problem(HTTPStatus.UNAUTHORIZED, "unauthorized", "valid credentials are needed for this address",
                   headers=((b"www-authenticate", challenge),))


def forbidden() -> Problem:
    """403: the caller is known, and may not do this."""
    return Problem(HTTPStatus.FORBIDDEN, "denied", "these credentials are not for this address")


def not_found(detail: str) -> Problem:
    """404: no channel has this path, or no message this id."""
    return Problem(HTTPStatus.NOT_FOUND, "not-found", detail)


def wrong_method(allowed: str) -> Problem:
    """405, with Allow."""
    return Problem(HTTPStatus.METHOD_NOT_ALLOWED, "wrong-method", f"this address takes {allowed}",
                   headers=((b"allow", allowed.encode()),))


def too_slow(detail: str) -> Problem:
    """408: the request did not arrive in time."""
    return Problem(HTTPStatus.REQUEST_TIMEOUT, "too-slow", detail)


def too_large(limit: int) -> Problem:
    """413: the body is over the limit, which is named."""
    return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", f"the body may have at most {limit} bytes")


def wrong_type(allowed: str) -> Problem:
    """415: the channel takes bodies of other types."""
    return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "wrong-type", f"this address takes {allowed}",
                   headers=((b"accept", allowed.encode()),))


def encoded() -> Problem:
    """415: a compressed body, which nothing behind this would read."""
    return Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "content-encoding", "send the body without Content-Encoding",
                   headers=((b"accept-encoding", b"identity"),))


def key_reused() -> Problem:
    """422: an idempotency key that came before, with another body."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "key-reused",
                   "this Idempotency-Key came before with another body; nothing was stored")


def headers_too_large(limit: int) -> Problem:
    """431: the headers are over the limit, which is named."""
    return Problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large",
                   f"the headers may have at most {limit} bytes")


def too_many(wait: float) -> Problem:
    """429: more than the channel's rate."""
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, "too-many", "more than this address takes in so much time",
                   headers=(_retry_after(wait),))


def of(error: BaseException) -> Problem:
    """What an error of an immediate call means to its caller, who is told the call's id too."""
    status = status_of(error)
    headers = (_retry_after(status.retry_after),) if status.retry_after else ()
    if message_id := getattr(error, "message_id", ""):
        headers = (*headers, (MESSAGE_ID, message_id.encode()))
    return Problem(status.code, status.kind, status.detail, headers=headers)


def internal() -> Problem:
    """500: our own fault; the log has it."""
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal",
                   "something failed here; try again with the same Idempotency-Key")


def unavailable(detail: str, retry_after: float) -> Problem:
    """503: nothing was stored; try again after so many seconds."""
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail,
                   headers=(_retry_after(retry_after),))


def _retry_after(seconds: float) -> tuple[bytes, bytes]:
    return b"retry-after", b"%d" % max(1, ceil(seconds))
