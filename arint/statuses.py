"""What an error means to whoever called, in the words of HTTP: a status, and what may be told. Pure."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from arint.errors import (
    ArintError,
    ConflictError,
    DeniedError,
    MalformedError,
    NobodyError,
    NotFoundError,
    RejectedError,
    SystemUnavailableError,
    TimedOutError,
    UnreachableError,
)
from arint.plugins import FullError


class Status(msgspec.Struct, frozen=True):
    """`kind` is the last part of the problem's type; `retry_after` is in seconds, 0 where nothing is known of it."""

    code: HTTPStatus
    kind: str
    detail: str
    retry_after: float = 0.0


_LATER = "not now: try again later"
_MEANINGS: tuple[tuple[type[BaseException], HTTPStatus, str, str], ...] = (
    (MalformedError, HTTPStatus.BAD_REQUEST, "malformed", ""),
    (RejectedError, HTTPStatus.UNPROCESSABLE_ENTITY, "rejected", ""),
    (NotFoundError, HTTPStatus.NOT_FOUND, "not-found", ""),
    (ConflictError, HTTPStatus.CONFLICT, "conflict", ""),
    (DeniedError, HTTPStatus.FORBIDDEN, "denied", ""),
    (TimedOutError, HTTPStatus.GATEWAY_TIMEOUT, "timed-out", "there was no answer in time; it may have been done"),
    (TimeoutError, HTTPStatus.GATEWAY_TIMEOUT, "timed-out", "there was no answer in time; it may have been done"),
    (FullError, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", _LATER),
    (NobodyError, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", _LATER),
    (UnreachableError, HTTPStatus.BAD_GATEWAY, "lost", "the one who worked at it is gone; it may have been done"),
    (SystemUnavailableError, HTTPStatus.BAD_GATEWAY, "system-unavailable", "a system that is needed for this is away"),
)
"""The first that fits counts. An empty text: the error's own words, which were meant for the caller."""


def status_of(error: BaseException) -> Status:
    """The status of an error. Of what is nobody's business outside (a user's exception, our own) no word is told."""
    wait = _retry_after(error)
    if isinstance(error, SystemUnavailableError) and wait:
        return Status(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", _LATER, wait)
    for kind, code, name, text in _MEANINGS:
        if isinstance(error, kind):
            return Status(code, name, text or _own_words(error), wait)
    return Status(HTTPStatus.INTERNAL_SERVER_ERROR, "failed", "it could not be processed")


def _retry_after(error: BaseException) -> float:
    if isinstance(error, SystemUnavailableError | FullError):
        return error.retry_after or 0.0
    return 1.0 if isinstance(error, NobodyError) else 0.0


def _own_words(error: BaseException) -> str:
    """What happened; a body that does not fit says where."""
    if not isinstance(error, ArintError):
        return str(error)
    where = error.where or ""
    return f"{where}: {error.what}" if where.startswith("body") else error.what
