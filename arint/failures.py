"""Errors on their way between processes: what is told of one, and the same error made of it on the other side."""

from __future__ import annotations

import msgspec

from arint.errors import (
    ArintError,
    ConflictError,
    DeniedError,
    MalformedError,
    MessageError,
    NobodyError,
    NotFoundError,
    NotValidError,
    RejectedError,
    SystemUnavailableError,
    TimedOutError,
    UnreachableError,
    UsageError,
)

_KNOWN: dict[str, type[ArintError]] = {f"arint.{kind.__name__}": kind for kind in (
    ArintError, ConflictError, DeniedError, MalformedError, MessageError, NobodyError, NotFoundError, NotValidError,
    RejectedError, SystemUnavailableError, TimedOutError, UnreachableError, UsageError)}
_NAMES = {kind: name for name, kind in _KNOWN.items()}


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is told of an error. `kind` names one of ours, or the class of a user's; `retry_after` is in seconds."""

    kind: str
    what: str
    where: str = ""
    remedy: str = ""
    retry_after: float = 0.0


def tell(error: BaseException, where: str = "") -> Told:
    """What the other side is told; `where` stands in for an error that does not say."""
    if isinstance(error, TimeoutError):
        return Told(_NAMES[TimedOutError], str(error) or "no result in time", where)
    if not isinstance(error, ArintError):
        return Told(type(error).__name__, str(error) or type(error).__name__, where)
    kind = next((_NAMES[kind] for kind in type(error).__mro__ if kind in _NAMES), type(error).__name__)
    retry_after = error.retry_after if isinstance(error, SystemUnavailableError) else None
    return Told(kind, error.what, error.where or where, error.remedy or "", retry_after or 0.0)


def error_of(told: Told) -> ArintError:
    """The same error; a MessageError that names the class of a user's."""
    where, remedy = told.where or None, told.remedy or None
    kind = _KNOWN.get(told.kind)
    if kind is None:
        return MessageError(f"{told.kind}: {told.what}", where=where)
    error = kind(told.what, where=where, remedy=remedy)
    if isinstance(error, SystemUnavailableError):
        error.retry_after = told.retry_after or None
    return error
