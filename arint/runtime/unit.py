"""What a worker does, by its role: a unit is given every new set of orders, and stopped at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from arint.errors import NotValidError
from arint.flows.contracts import Contract
from arint.runtime.control import Orders
from arint.runtime.desk import Desk


class Kept(Protocol):
    """A program that a unit keeps running."""

    @property
    def trouble(self) -> str:
        """Why it does not serve, when that has lasted; empty while it does."""
        ...

    @property
    def ends(self) -> int:
        """How often it had to be started again."""
        ...

    @property
    def last_end(self) -> str:
        """Why, the last time."""
        ...


class Unit(Protocol):
    """The work of one role."""

    async def apply(self, orders: Orders) -> None:
        """Work by these orders from now on. What it raises makes the worker `failed`."""
        ...

    async def stop(self, grace: float) -> None:
        """Take nothing new, finish what has begun within `grace` seconds."""
        ...

    @property
    def in_flight(self) -> int:
        """Messages taken and not yet settled."""
        ...

    @property
    def contract(self) -> Contract | None:
        """What a service takes and returns, once it is loaded; None for other units."""
        ...

    @property
    def circuits(self) -> dict[str, float]:
        """Open circuits: connection -> since when, in seconds since the epoch."""
        ...

    @property
    def trouble(self) -> str:
        """Why it does not do its work although its orders were carried out; empty while it does."""
        ...

    @property
    def program(self) -> Kept | None:
        """What it keeps running beside this process."""
        ...


def make_unit(orders: Orders, desk: Desk, tasks: asyncio.TaskGroup, on_change: Callable[[], None]) -> Unit:
    """The unit for the role; only its own modules are imported."""
    if orders.role == "service":
        from arint.runtime.service_unit import ServiceUnit

        return ServiceUnit(desk, on_change)
    if orders.role == "runner":
        from arint.runtime.runner_unit import RunnerUnit

        return RunnerUnit(desk, tasks, on_change)
    if orders.role == "source":
        from arint.runtime.source_unit import SourceUnit

        return SourceUnit(desk, tasks)
    if orders.role == "admin":
        from arint.runtime.admin_unit import AdminUnit

        return AdminUnit()
    raise NotValidError(f"no such role: {orders.role}", where=orders.instance)
