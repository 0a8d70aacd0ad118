"""`validate`: the body is what a JSON Schema says, or the message is rejected."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, ClassVar

import msgspec

from arint.errors import RejectedError
from arint.flows.state import State
from arint.flows.step import PureStep, StepError

_SHOWN = 5


class ValidateSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`schema`: a JSON Schema, or the name of a file that holds one."""

    schema: dict[str, Any] | bool | str


class Validate(PureStep):
    """Checks the body. The errors name the places, never the values."""

    key: ClassVar[str] = "validate"
    Spec: ClassVar[Any] = ValidateSpec
    files: ClassVar[Mapping[str, tuple[str, str]]] = {"schema": ("schema", "json")}

    def __init__(self, spec: ValidateSpec) -> None:
        if isinstance(spec.schema, str):
            raise StepError(f"the file {spec.schema} was not read", ("schema",))
        self._validator = _validator(msgspec.json.encode(spec.schema))

    def apply(self, state: State) -> None:
        """Raises RejectedError with the first few mistakes."""
        body = state.body
        if self._validator.is_valid(body):
            return
        found = [f"{_place(error.instance_path)}{error.message}"
                 for error in islice(self._validator.iter_errors(body), _SHOWN)]
        raise RejectedError("the body does not fit the schema: " + "; ".join(found))


@lru_cache(maxsize=1024)
def _validator(schema: bytes) -> Any:
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(msgspec.json.decode(schema), mask="the value", offline=True)
    except Exception as error:  # it raises several kinds, all of which mean the same
        what = str(error).partition("\n")[0]
        raise StepError(f"not a JSON Schema: {what}", ("schema",)) from None


def _place(path: list[str | int]) -> str:
    return f"{'.'.join(map(str, path))}: " if path else ""
