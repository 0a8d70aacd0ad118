"""Answers the requests of a data API: finds the query, takes its parameters, asks the database, gives the answer."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from arint.answers import STATUS, request_of
from arint.errors import (
    ArintError,
    ConflictError,
    MessageError,
    NotFoundError,
    RejectedError,
    TimedOutError,
)
from arint.flows.state import State
from arint.flows.step import EffectStep
from arint.message import Message
from arint.resources.quantities import seconds
from plugins.sql.api.paging import page_of
from plugins.sql.api.specs import CALLER, ApiQuery
from plugins.sql.api.values import values_of
from plugins.sql.asking import Ask

_log = logging.getLogger(__name__)


class Answer(EffectStep):
    """The one step of a data API."""

    key: ClassVar[str] = "queries"
    Spec: ClassVar[Any] = dict[str, ApiQuery]

    def __init__(self, spec: Mapping[str, ApiQuery], target: str = "") -> None:
        self._queries = dict(spec)
        self._target = target

    @property
    def target(self) -> str:
        """`connection/NAME`."""
        return self._target

    async def perform(self, state: State, idempotency_key: str) -> None:
        """Raises MalformedError, NotFoundError, ConflictError, RejectedError, TimedOutError, or what is ours alone."""
        message = state.message()
        request = request_of(message)
        query = self._queries.get(request.operation)
        if query is None:
            raise NotFoundError("there is no such query any more")
        ask: Any = ask_of(query, request.path, request.query, message)
        key = f"{message.channel}-{request.operation}-{_digest(message.caller, _given_key(message))}"
        try:
            told = await state.effects.send(self._target, message, ask, key, seconds(query.timeout))
        except MessageError as error:
            raise _outwards(error, message) from None
        _answer(state, query, told or b"null", message)


def ask_of(query: ApiQuery, path: Mapping[str, str], given: Mapping[str, str | list[str]], message: Message) -> Ask:
    """What a request comes to. Raises MalformedError. Pure."""
    page, rest = page_of(query, given)
    values = values_of(query, path, rest, message.body)
    types: dict[str, str] = {name: parameter.format or parameter.type
                             for name, parameter in query.params.items() if parameter.optional}
    return Ask(statements=query.statements, values={**values, CALLER: message.caller}, types=types, rows=query.answered,
               limit=page.size if page is not None else query.limit, reads=query.method == "GET", page=page,
               once=query.method != "GET" and bool(_given_key(message)),
               fingerprint=_digest(*map(str, sorted(values.items(), key=lambda item: item[0]))))


def _given_key(message: Message) -> str:
    return message.headers.get("idempotency-key", "")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def _answer(state: State, query: ApiQuery, told: bytes, message: Message) -> None:
    if query.answered == "one" and told == b"null":
        raise NotFoundError("there is nothing of that kind")
    headers = dict(message.headers)
    if query.method == "GET":
        tag = f'"{hashlib.sha256(told).hexdigest()[:32]}"'
        headers |= {"etag": tag, "cache-control": "no-cache"}
        if tag in message.headers.get("if-none-match", ""):
            told, headers[STATUS] = b"", "304"
    state.replace(msgspec.structs.replace(message, body=told, content_type="application/json", headers=headers))


def _outwards(error: MessageError, message: Message) -> ArintError:
    """What a caller may know: never a name or a value of the database. The log has the rest."""
    from plugins.sql.failures import DuplicateError, SlowError, ViolatedError

    _log.warning("a query of channel %s failed: %s [%s]", message.channel, error, message.id)
    if isinstance(error, DuplicateError):
        return ConflictError("it is there already")
    if isinstance(error, ViolatedError):
        return RejectedError("the database does not allow it")
    if isinstance(error, SlowError):
        return TimedOutError("the query took too long")
    if not isinstance(error, RejectedError):
        return MessageError("the query failed")
    return error if error.what.startswith(_HARMLESS) else RejectedError("a value does not fit")


_HARMLESS = ("the answer has more than", "this Idempotency-Key", "a scalar is")
