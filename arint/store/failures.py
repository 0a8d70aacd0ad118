"""What can go wrong with etcd, as errors of ours."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode

from arint.errors import (
    ArintError,
    ConflictError,
    DeniedError,
    NotFoundError,
    NotValidError,
    TimedOutError,
    UnreachableError,
)

_RUNS = "see that etcd runs, and that the certificates are its own: arintctl status"
_LOOK = "read again before you write again"
_REFUSALS: dict[StatusCode, type[ArintError]] = {
    StatusCode.NOT_FOUND: NotFoundError,
    StatusCode.INVALID_ARGUMENT: NotValidError,
    StatusCode.FAILED_PRECONDITION: ConflictError,
}


class CompactedError(ArintError):
    """The revision asked for is history that etcd no longer has: list again."""

    title = "compacted"

    def __init__(self, what: str, *, revision: int = 0, where: str | None = None) -> None:
        super().__init__(what, where=where, remedy="list again, and watch from there")
        self.revision = revision


class InDoubtError(TimedOutError):
    """A write was sent and no answer came: it may or may not have been made."""


class LeaseLostError(ArintError):
    """The lease has ended; what hung on it is gone."""

    title = "lease lost"


def transient(code: StatusCode) -> bool:
    """Whether asking another member, or the same one later, may help."""
    return bool(code in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED,
                         StatusCode.UNKNOWN, StatusCode.INTERNAL))


def permissions_changed(error: Any) -> bool:
    """Whether the call was refused, and nothing done, only because users or roles changed meanwhile: ask again."""
    detail = error.details() or ""
    return "revision of auth store is old" in detail or "auth: revision in header is old" in detail


def failure(error: Any, where: str, *, write: bool) -> ArintError:
    """Our error for what gRPC raised (an AioRpcError)."""
    code, detail = error.code(), error.details() or ""
    if not transient(code) or denied(detail):
        return _refusal(code, detail, where)
    if write:
        return InDoubtError(f"no answer to a write: {detail}", where=where, remedy=_LOOK)
    if code is StatusCode.DEADLINE_EXCEEDED:
        return TimedOutError("etcd did not answer in time", where=where, remedy=_RUNS)
    return UnreachableError(f"etcd does not answer: {detail}", where=where, remedy=_RUNS)


def unreachable(why: str, where: str) -> UnreachableError:
    """No member could be connected to, so nothing was sent."""
    return UnreachableError(f"etcd cannot be reached: {why}", where=where, remedy=_RUNS)


def denied(detail: str) -> bool:
    """Whether a reason that etcd gives in words means that the caller may not."""
    return any(words in detail for words in ("permission denied", "user name is empty", "user name not found"))


def _refusal(code: StatusCode, detail: str, where: str) -> ArintError:
    what = detail.removeprefix("etcdserver: ").removeprefix("mvcc: ") or code.name
    if code in (StatusCode.PERMISSION_DENIED, StatusCode.UNAUTHENTICATED) or denied(detail):
        return DeniedError(what, where=where, remedy="use a certificate whose role may do this")
    if code is StatusCode.OUT_OF_RANGE and "compacted" in detail:
        return CompactedError(what, where=where)
    if code is StatusCode.RESOURCE_EXHAUSTED:
        return ArintError(f"etcd has no room: {what}", where=where,
                          remedy="compact and defragment it, then disarm its alarm")
    if code in _REFUSALS:
        return _REFUSALS[code](what, where=where)
    return ArintError(f"etcd refused: {what}", where=where, remedy=_RUNS)
