"""`filter`: a message goes on only if a condition holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from arint.flows.expressions import expression
from arint.flows.step import Step

if TYPE_CHECKING:
    from arint.flows.compile import Builder


class Filter(Step):
    """`filter: "body.total > 0"`: a message for which this does not hold ends here, quietly.

    It is no failure: `why` shows it as filtered. Between `split` or `multicast` and the `aggregate` that gathers them,
    a part that is filtered out is not waited for.
    """

    key: ClassVar[str] = "filter"
    Spec: ClassVar[Any] = Annotated[str, msgspec.Meta(min_length=1, description="CEL: true or false")]

    def __init__(self, spec: str) -> None:
        self._condition = expression(spec)

    def emit(self, build: Builder, path: str) -> None:
        """A test."""
        build.branch(self._condition, build.dropped, path, self.key)
