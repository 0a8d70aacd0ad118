"""ALPHAREN Core-Integrator (ARINT): what a service imports. Names are loaded when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arint.errors import (
        ConflictError,
        DeniedError,
        MalformedError,
        MessageError,
        NotFoundError,
        RejectedError,
        SystemUnavailableError,
    )
    from arint.message import Message
    from arint.sdk import Context, service

__all__ = ["ConflictError", "Context", "DeniedError", "MalformedError", "Message", "MessageError", "NotFoundError",
           "RejectedError", "SystemUnavailableError", "service"]

_HOMES = {"Context": "arint.sdk", "service": "arint.sdk", "Message": "arint.message", **dict.fromkeys(
    ("ConflictError", "DeniedError", "MalformedError", "MessageError", "NotFoundError", "RejectedError",
     "SystemUnavailableError"), "arint.errors")}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'arint' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
