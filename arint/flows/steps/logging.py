"""`log`: a line in the log of the instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from arint.flows.expressions import Template
from arint.flows.state import Level, State
from arint.flows.step import Mistakes, PureStep
from arint.masking import Masks

if TYPE_CHECKING:
    from arint.flows.compile import Builder


class LogSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`message`: the text, with CEL in double braces."""

    message: str
    level: Level = "info"


class Log(PureStep):
    """`log: "order {{ body.id }} is done"`."""

    key: ClassVar[str] = "log"
    Spec: ClassVar[Any] = str | LogSpec

    def __init__(self, spec: str | LogSpec) -> None:
        self._level: Level = "info"
        self._masks = Masks()
        if isinstance(spec, str):
            self._text = Template(spec)
            return
        self._level = spec.level
        found = Mistakes()
        with found.at("message"):
            self._text = Template(spec.message)
        found.refuse()

    def emit(self, build: Builder, path: str) -> None:
        """One instruction, with the masks of the flow."""
        self._masks = build.masks
        super().emit(build, path)

    def apply(self, state: State) -> None:
        """Write the line, with masks. Raises RejectedError where the message lacks what the text speaks of."""
        state.effects.log(self._level, self._text.show(state, self._masks), state.message())
