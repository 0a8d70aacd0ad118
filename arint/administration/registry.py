"""Which operations an administrator may call, in which role, and how one is called: here, or over the bus.

`@administrative("viewer")` on `async def operation(link, …, progress)` (or an async generator) makes it an operation
with a name, by which the administration service finds it. With a link to this machine's home it simply runs; with a
link over the bus it travels. Its arguments and its result are what msgspec can encode, their types known at run time.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from functools import cached_property, update_wrapper
from importlib import import_module
from typing import Any, Literal, Protocol, TypeVar, cast, get_args

import msgspec

from arint.errors import NotFoundError

Role = Literal["viewer", "operator", "administrator"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "administrator")
"""Each may do what those before it may."""
_NAME = re.compile(r"[a-z_]+-[a-z_]+")
_PACKAGE = "arint.operations"
_Function = TypeVar("_Function", bound=Callable[..., Any])
_inside: ContextVar[bool] = ContextVar("inside an operation", default=False)
"""What an operation calls is a part of it: neither asked for nor audited again."""


class Call(msgspec.Struct, frozen=True):
    """One call of an operation, before it is run. `progress` is None where the operation takes none."""

    operation: Operation
    arguments: Mapping[str, Any]
    progress: Callable[[Any], None] | None


class Remote(Protocol):
    """What a link over the bus can do (`arint.administration.remote`)."""

    async def call(self, call: Call) -> Any:
        """Run it there, and return its result."""
        ...

    def stream(self, call: Call) -> AsyncIterator[Any]:
        """Run it there, and yield what it yields."""
        ...


class Operation:
    """A registered operation. `function` is what runs; `name` is `<module>-<function>`."""

    def __init__(self, function: Callable[..., Any], role: Role) -> None:
        self.function = function
        self.role = role
        self.name = f"{function.__module__.rpartition('.')[2]}-{function.__name__}"
        self.streams = inspect.isasyncgenfunction(function)
        self.signature = inspect.signature(function)
        names = list(self.signature.parameters)
        self.takes_progress = "progress" in names
        self.parameters = [name for name in names[1:] if name != "progress"]

    @cached_property
    def arguments(self) -> type[msgspec.Struct]:
        """The arguments as a Struct; a field for each parameter, with its default."""
        fields: list[Any] = []
        for name in self.parameters:
            parameter = self.signature.parameters[name]
            kind = self._resolve(parameter.annotation)
            fields.append((name, kind) if parameter.default is parameter.empty else (name, kind, parameter.default))
        return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)

    @cached_property
    def result(self) -> Any:
        """The type of the result; of one item where it streams."""
        kind = self._resolve(self.signature.return_annotation)
        return get_args(kind)[0] if self.streams else kind

    def bound(self, *given: Any, **named: Any) -> Call:
        """The call that these arguments (without the link) make."""
        bound = self.signature.bind(None, *given, **named)
        bound.apply_defaults()
        return Call(self, {name: bound.arguments[name] for name in self.parameters}, bound.arguments.get("progress"))

    def _resolve(self, annotation: Any) -> Any:
        if not isinstance(annotation, str):
            return annotation
        return eval(annotation, self.function.__globals__)  # noqa: S307 - our own source, as typing does it


def administrative(role: Role) -> Callable[[_Function], _Function]:
    """Register an operation that needs at least this role."""

    def register(function: _Function) -> _Function:
        operation = Operation(function, role)
        wrapper = _streaming(operation) if operation.streams else _whole(operation)
        update_wrapper(wrapper, function)
        wrapper.operation = operation  # type: ignore[attr-defined]
        return cast("_Function", wrapper)

    return register


def at_home(function: _Function) -> _Function:
    """For an operation that works with this machine's files: it never travels, and is in the audit all the same."""
    operation = Operation(function, "administrator")

    async def run(link: Any, *given: Any, **named: Any) -> Any:
        if link.remote is not None or _inside.get():
            return await function(link, *given, **named)
        from arint.administration.locally import audited

        return await audited(link, operation.bound(*given, **named), lambda: within(function, link, *given, **named))

    return cast("_Function", update_wrapper(run, function))


def _whole(operation: Operation) -> Callable[..., Any]:
    async def run(link: Any, *given: Any, **named: Any) -> Any:
        if link.remote is not None:
            return await cast("Remote", link.remote).call(operation.bound(*given, **named))
        if operation.role == "viewer" or link.audited or _inside.get():
            return await operation.function(link, *given, **named)
        from arint.administration.locally import audited

        return await audited(link, operation.bound(*given, **named),
                             lambda: within(operation.function, link, *given, **named))

    return run


def _streaming(operation: Operation) -> Callable[..., Any]:
    """What streams only reads: it is not audited where it runs at home."""

    def run(link: Any, *given: Any, **named: Any) -> Any:
        if link.remote is not None:
            return cast("Remote", link.remote).stream(operation.bound(*given, **named))
        return operation.function(link, *given, **named)

    return run


async def within(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Run an operation so that the operations it calls are parts of it."""
    token = _inside.set(True)
    try:
        return await function(*given, **named)
    finally:
        _inside.reset(token)


def find(name: str) -> Operation:
    """An operation by its name; its module is imported. Raises NotFoundError."""
    module, _, function = name.partition("-")
    if _NAME.fullmatch(name):
        try:
            found = getattr(import_module(f"{_PACKAGE}.{module}"), function, None)
        except ModuleNotFoundError as error:
            if error.name != f"{_PACKAGE}.{module}":
                raise
            found = None
        operation = getattr(found, "operation", None)
        if isinstance(operation, Operation) and operation.name == name:
            return operation
    raise NotFoundError(f"there is no operation {name!r}", where="administration",
                        remedy="are arintctl and the cluster of one release?")


def may(role: Role, needed: Role) -> bool:
    """Whether one in `role` may do what needs `needed`."""
    return ROLES.index(role) >= ROLES.index(needed)
