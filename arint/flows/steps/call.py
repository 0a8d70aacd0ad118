"""`call`: let a service process the message, or go through another flow's steps and come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from arint.flows.state import State
from arint.flows.step import EffectStep

if TYPE_CHECKING:
    from arint.flows.compile import Builder


class Call(EffectStep):
    """`call: service/NAME` begins a stage; `call: flow/NAME` becomes that flow's steps when compiled."""

    key: ClassVar[str] = "call"
    Spec: ClassVar[Any] = Annotated[str, msgspec.Meta(pattern=r"^(service|flow)/[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
                                                      description="service/NAME or flow/NAME")]

    def __init__(self, spec: str) -> None:
        self._target = spec
        self._kind, _, self._name = spec.partition("/")

    @property
    def target(self) -> str:
        """`service/NAME`."""
        return self._target

    def emit(self, build: Builder, path: str) -> None:
        """An effect, or the other flow's steps."""
        if self._kind == "flow":
            build.flow(self._name, path)
        else:
            build.effect(self, path)

    async def perform(self, state: State, idempotency_key: str) -> None:
        """The message goes on as the service returns it; what it sent besides is stored with it."""
        reply = await state.effects.call(self._name, state.message(), idempotency_key, 0.0)
        state.replace(reply.message)
        state.outputs.extend(reply.outputs)
