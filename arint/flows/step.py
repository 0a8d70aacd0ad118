"""What a step type is. Built-in steps and a plugin's are the same: a class with a key, a Spec, and what it does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from arint.flows.compile import Builder
    from arint.flows.state import State

Path = tuple[str | int, ...]


class StepError(ValueError):
    """What is written does not hold, such as an expression that does not parse.

    `path` is within the spec; `more` are further mistakes that were found together with this one.
    """

    def __init__(self, message: str, path: Path = (), suggestion: str = "", more: tuple[StepError, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.suggestion = suggestion
        self.more = more

    def under(self, *path: str | int) -> StepError:
        """The same mistake, further down in the spec."""
        return StepError(self.message, (*path, *self.path), self.suggestion)


class Mistakes:
    """Gathers StepErrors, to raise them together: `with found.at("if"): ...`, then `found.refuse()`."""

    def __init__(self) -> None:
        self._found: list[StepError] = []

    @contextmanager
    def at(self, *path: str | int) -> Iterator[None]:
        """What is built within stands at `path` in the spec."""
        try:
            yield
        except StepError as error:
            self._found += [one.under(*path) for one in (error, *error.more)]

    def refuse(self) -> None:
        """Raise what was found, if anything was."""
        if self._found:
            first, *others = self._found
            raise StepError(first.message, first.path, first.suggestion, tuple(others))


class Step(ABC):
    """One step of a flow.

    `key` names it in a manifest; `Spec` is the msgspec type of what stands under the key. `files` are the fields of
    the spec that name files: {"file": ("expr", "text")} means that `expr` holds the file's content afterwards; the
    form is `json` or `text`. `siblings` are further keys of the step's own mapping (`catch` beside `try`); with
    siblings the spec is the whole mapping. Building one compiles it, and raises StepError.
    """

    key: ClassVar[str]
    Spec: ClassVar[Any]
    files: ClassVar[Mapping[str, tuple[str, str]]] = {}
    siblings: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def __init__(self, spec: Any) -> None:
        """Compile what is written, already of the type `Spec`."""

    @abstractmethod
    def emit(self, build: Builder, path: str) -> None:
        """Add this step's instructions to a program."""

    @classmethod
    def blocks(cls, written: Any) -> Iterable[tuple[Path, Any]]:
        """The lists of steps inside of it, each with its path; from the spec as written, which may be wrong."""
        return ()


class PureStep(Step):
    """A step that only looks at the message and changes it: no I/O, no waiting."""

    @abstractmethod
    def apply(self, state: State) -> None:
        """Do it. Raises an error and then has changed nothing."""

    def emit(self, build: Builder, path: str) -> None:
        """One instruction."""
        build.pure(self, path)


class EffectStep(Step):
    """A step that touches the world. It begins a stage, whose input is stored first."""

    @property
    def target(self) -> str:
        """What it touches, such as `service/price`; empty where only the message tells."""
        return ""

    @abstractmethod
    async def perform(self, state: State, idempotency_key: str) -> None:
        """Do it. The key is the same each time this stage of this message is tried."""

    def emit(self, build: Builder, path: str) -> None:
        """One instruction, which begins a stage."""
        build.effect(self, path)
