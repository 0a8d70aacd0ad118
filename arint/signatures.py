"""How a callable of a user's takes a payload: which parameter it is, of what type, and how a body becomes that."""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import msgspec
import msgspec.inspect

from arint.errors import MalformedError, NotValidError, RejectedError
from arint.flows.json_text import json_mistake, nested_too_deep
from arint.message import Message


def is_stream(annotation: Any) -> bool:
    """Is it `AsyncIterator[bytes]`?"""
    return typing.get_origin(annotation) is AsyncIterator and typing.get_args(annotation) == (bytes,)


def decoder_for(annotation: Any) -> Callable[[Message], Any]:
    """How a message becomes an argument of this type. Raises NotValidError for a type that no body can become."""
    if annotation is Message:
        return _whole
    if annotation is bytes:
        return _raw
    if annotation is str:
        return _text
    try:
        decode = msgspec.json.Decoder(annotation).decode
        if isinstance(msgspec.inspect.type_info(annotation), msgspec.inspect.CustomType):
            raise TypeError("it is a class of its own")  # noqa: TRY301 - msgspec would say so at each message
    except (TypeError, msgspec.ValidationError) as error:
        raise NotValidError(f"no body can become {annotation!r}: {error}",
                            remedy="annotate a Struct, a dataclass, dict, list, str, bytes or Message") from None
    return partial(_json, decode)


def _whole(message: Message) -> Message:
    return message


def _raw(message: Message) -> bytes:
    return message.body


def _text(message: Message) -> str:
    try:
        return message.body.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"the body is not UTF-8: byte {error.start}") from None


def _json(decode: Callable[[bytes], Any], message: Message) -> Any:
    if nested_too_deep(message.body):
        raise MalformedError("the body is nested too deep")
    try:
        return decode(message.body)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `")
        raise RejectedError(f"the body does not fit: {what}", where=place.rstrip("`").replace("$", "body", 1) or "body"
                            ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise json_mistake(message.body, error) from None


def parameters_of(function: Callable[..., Any], context: type[Any]) -> tuple[inspect.Parameter | None, str]:
    """The payload's parameter, and the name of the one of type `context`. Raises NotValidError."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise NotValidError("is not callable", where=repr(function)) from None
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    contexts = [p for p in named if _is_context(p, context)]
    others = [p for p in named if p not in contexts]
    further = [p.name for p in others[1:] if p.default is p.empty]
    if len(contexts) > 1 or further:
        raise NotValidError(f"takes more than a payload and a context: {', '.join(p.name for p in named)}",
                            where=getattr(function, "__qualname__", repr(function)),
                            remedy="such as: async def price(order: Order, ctx: Context)")
    return (others[0] if others else None), (contexts[0].name if contexts else "")


def _is_context(parameter: inspect.Parameter, context: type[Any]) -> bool:
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return parameter.name in ("ctx", "context")
    if isinstance(annotation, str):
        return annotation.strip("'\"").rpartition(".")[2] == context.__name__
    return inspect.isclass(annotation) and issubclass(annotation, context)


def annotation_of(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The type of a parameter; Any where none is written. Raises NotValidError for one that is not known."""
    if parameter.annotation is parameter.empty:
        return Any
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    plain: Any = inspect.unwrap(function) if inspect.isroutine(function) else type(function).__call__
    try:
        # Only this one: the others may speak of what is imported for type checkers alone.
        known = {**getattr(plain, "__globals__", {}), **inspect.getclosurevars(plain).nonlocals}
        return typing.get_type_hints(_only(parameter.annotation), known, include_extras=True)["payload"]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise NotValidError(f"the annotation {parameter.annotation} of {parameter.name} is not known: {error}",
                            where=getattr(function, "__qualname__", repr(function)),
                            remedy="import or define it at the top of the module") from None


def result_type_of(function: Callable[..., Any]) -> Any:
    """The annotation of what it returns; Any where there is none, or one that is not known."""
    plain = function if inspect.isroutine(function) else type(function).__call__
    annotation = getattr(plain, "__annotations__", {}).get("return", Any)
    if not isinstance(annotation, str):
        return annotation
    try:
        return typing.get_type_hints(_only(annotation), getattr(inspect.unwrap(plain), "__globals__", {}),
                                     include_extras=True)["payload"]
    except (NameError, AttributeError, SyntaxError, TypeError):
        return Any


def _only(annotation: str) -> Any:
    """Something with this annotation alone."""
    def holder() -> None: ...

    holder.__annotations__ = {"payload": annotation}
    return holder
