"""Operations on a server's own home: the break-glass path, audited too where the bus can be reached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from arint.administration.audit import Audit, Record, log, told
from arint.administration.registry import Call
from arint.bus.connection import Bus
from arint.errors import ArintError
from arint.operations.connect import Link

_WITHIN = 3.0
"""Seconds to reach the bus: who breaks the glass does not wait longer."""


async def audited(link: Link, call: Call, run: Callable[[], Awaitable[Any]]) -> Any:
    """Run an operation here, with its records in the audit; where they cannot be written it says so, and goes on."""
    from arint.operations.configuration import whoami

    record = Record(call=Bus.new_token(), at=time.time(), user=_subject_part(whoami()), via="home",
                    operation=call.operation.name, outcome="begun", arguments=told(call.arguments))
    try:
        async with asyncio.timeout(_WITHIN):
            audit = Audit(await link.bus(), await link.etcd(), link.config.cluster)
            await audit.ensure()
    except (ArintError, TimeoutError) as error:
        log.warning("not audited: %s", str(error) or "the bus did not answer in time")
        return await run()
    named = Record(**{name: getattr(record, name) for name in record.__struct_fields__} | {"node": link.config.node})
    return await audit.around(named, run, strict=False)


def _subject_part(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name) or "unknown"
