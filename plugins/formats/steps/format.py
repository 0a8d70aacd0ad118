"""`format`: the value becomes bytes of a declared form, with their content type."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from arint.errors import ArintError
from arint.flows.state import State
from arint.flows.step import PureStep, StepError
from arint.formats import LazySpec, opened


class FormatStep(PureStep):
    """`xml`, or `{as: xml, root: order}`. The steps after it meet bytes: `parse` gives the value again."""

    key: ClassVar[str] = "format"
    Spec: ClassVar[Any] = LazySpec("as", "Format")

    def __init__(self, spec: str | msgspec.Struct) -> None:
        try:
            self._format = opened(spec)
        except ArintError as error:
            raise StepError(error.what) from None

    def apply(self, state: State) -> None:
        """Raises RejectedError for a value that cannot be written in this form."""
        written = self._format.write(state.body)
        state.replace(msgspec.structs.replace(state.message(), body=written.body, content_type=written.content_type))
