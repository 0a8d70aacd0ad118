"""Proof that the bus takes, keeps and gives back a message: without it nothing is called ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
