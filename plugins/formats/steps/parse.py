"""`parse`: bytes of a declared form become a value, the body of the steps after it."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from arint.errors import ArintError, RejectedError
from arint.flows.state import State
from arint.flows.step import PureStep, StepError
from arint.formats import LazySpec, of_content_type, opened
from arint.plugins import Format

AUTO = "auto"


class Auto(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="format", tag=AUTO):
    """The format that the message's content type names, with its usual options."""


class Parse(PureStep):
    """`csv`, or `{format: csv, delimiter: ";"}`; `auto`: as the content type says."""

    key: ClassVar[str] = "parse"
    Spec: ClassVar[Any] = LazySpec("format", "Parse", Auto)

    def __init__(self, spec: str | msgspec.Struct) -> None:
        self._format: Format | None = None
        if spec != AUTO and not isinstance(spec, Auto):
            self._format = _opened(spec)

    def apply(self, state: State) -> None:
        """Raises RejectedError for a body that does not have the form."""
        message = state.message()
        form = self._format or _by_content_type(message.content_type)
        value = form.parse(message.body, message.content_type)
        state.body = value


def _opened(spec: str | msgspec.Struct) -> Format:
    try:
        return opened(spec)
    except ArintError as error:
        raise StepError(error.what) from None


def _by_content_type(content_type: str) -> Format:
    name = of_content_type(content_type)
    if name is None:
        raise RejectedError(f"no format is known for the content type {content_type[:100]!r}",
                            remedy="say which: parse: csv")
    try:
        return opened(name)
    except TypeError:
        raise RejectedError(f"the format {name} needs options", remedy=f"parse: {{format: {name}, …}}") from None
