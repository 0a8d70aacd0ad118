"""The one tree of errors.

Every error says what happened, where, and what to do about it. The command line prints `str(error)` and leaves with
`exit_code` (DESIGN: the CLI contract); a traceback never reaches a user.
"""

from __future__ import annotations

from collections.abc import Sequence


class ArintError(Exception):
    """The root: `what` happened, `where` it happened, and the `remedy`."""

    exit_code = 1
    title = "failed"

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{where}{self.what}{remedy}"


class UsageError(ArintError):
    """The command was called with words that do not fit."""

    exit_code = 2
    title = "usage"


class NotFoundError(ArintError):
    """What was named is not there."""

    exit_code = 3
    title = "not found"


class ConflictError(ArintError):
    """Somebody else changed it in between, or it is still in use."""

    exit_code = 4
    title = "conflict"


class TimedOutError(ArintError):
    """A deadline passed; the change may or may not have been made."""

    exit_code = 5
    title = "timed out"


class UnreachableError(ArintError):
    """Nothing answered where something should."""

    exit_code = 6
    title = "unreachable"


class NobodyError(UnreachableError):
    """Nobody is there who would do it: nothing was begun, so it can be tried again."""

    title = "nobody there"


class DeniedError(ArintError):
    """The caller may not do this."""

    exit_code = 7
    title = "denied"


class NotValidError(ArintError):
    """Input that does not hold: carries every problem found, not only the first."""

    exit_code = 8
    title = "not valid"

    def __init__(self, what: str, *, problems: Sequence[object] = (), where: str | None = None,
                 remedy: str | None = None) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.problems = tuple(problems)


class MessageError(ArintError):
    """A message could not be processed; it uses an attempt and may end in the dead-letter queue.

    User code may raise it as well as any exception of its own.
    """

    title = "message failed"


class RejectedError(MessageError):
    """The message will never be accepted as it is: no further attempt is made, it is a dead letter at once."""

    title = "rejected"


class BodyLostError(RejectedError):
    """The large body of a message is missing in the store of bodies, or is not what was put there."""

    title = "body lost"


class BodyAwayError(MessageError):
    """A large body was asked for before it was fetched: whoever asked is called again with it."""

    title = "body away"


class MalformedError(RejectedError):
    """The body is not of the format that it should have: no JSON, not UTF-8, nested too deep."""


class SystemUnavailableError(ArintError):
    """An external system refused, timed out, or answered 502, 503 or 504.

    It is not the message's fault: no attempt is used; the connection's circuit opens. `retry_after` is in seconds,
    where the system itself named a time.
    """

    title = "system unavailable"

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None,
                 retry_after: float | None = None) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.retry_after = retry_after
