"""The streams: what they store, how much, and how they are made (create or update, any number of times)."""

from __future__ import annotations

from typing import Any

import msgspec

from arint.bus import api, subjects
from arint.bus.connection import Bus
from arint.errors import ConflictError, NotFoundError, UnreachableError

_NANOSECONDS = 1_000_000_000
_NO_ROOM = 10047
"""The broker's code for a store that has no room to set aside; a stream that stands already is counted once more."""
ACK_WAIT = 10.0
OWNER_ACK_WAIT = 3600.0
"""Seconds until redelivery where one process holds messages for long; whoever takes over has them all brought again."""
MIB = 2**20
FLOW_BYTES = 256 * MIB
IMPLICIT_BYTES = 64 * MIB
"""What may wait for a service or connection that is addressed directly."""
UNLIMITED = -1
LOG_BYTES = 256 * MIB
CALLS_BYTES = 128 * MIB
DEAD_BYTES = 128 * MIB
LEDGER_BYTES = 64 * MIB
MARKS_BYTES = 16 * MIB
TOPICS_BYTES = 128 * MIB
AUDIT_BYTES = 64 * MIB
LOG_AGE = 7 * 86400.0
TOPICS_AGE = 86400.0
AUDIT_AGE = 400 * 86400.0


class StreamState(msgspec.Struct, frozen=True):
    """How a stream stands. `consumers` and `subjects` count; `last` is the sequence of the newest message ever."""

    name: str
    messages: int
    size: int
    first: int
    last: int
    max_bytes: int
    consumers: int
    subjects: int = 0


def _config(name: str, subject: str, replicas: int, max_bytes: int, **more: Any) -> dict[str, Any]:
    """A log with one subject a message, which refuses what does not fit (backpressure, not loss)."""
    config = {
        "name": name, "subjects": [subject], "retention": "limits", "storage": "file", "discard": "new",
        "max_bytes": max_bytes, "max_age": 0, "max_msgs": -1, "max_consumers": -1, "max_msg_size": -1,
        "max_msgs_per_subject": -1, "num_replicas": replicas, "allow_direct": True, "allow_atomic": True,
        # The stream refuses copies by expected sequence; the window (which forgets) would only cost memory.
        "duplicate_window": 100_000_000,
    }
    return config | more


def flow_config(flow: str, max_bytes: int, replicas: int) -> dict[str, Any]:
    """The stream of one flow."""
    return _config(subjects.stream_of(flow), subjects.stream_subjects(flow), replicas, max_bytes)


def bodies_config(flow: str, replicas: int) -> dict[str, Any]:
    """The stream of the large bodies that are stored for a flow.

    It has no limit of its own, so that what was accepted can always be brought to its end: channels answer 503 by the
    sum of both streams. Of a note that is written again only the newer stays.
    """
    return _config(subjects.bodies_of(flow), subjects.bodies_subjects(flow), replicas, -1, max_msgs_per_subject=1)


def audit_config(replicas: int) -> dict[str, Any]:
    """The stream of the audit: nothing is taken from it but by age and room, the oldest first."""
    return _config(subjects.AUDIT, subjects.audits(), replicas, AUDIT_BYTES, discard="old", deny_delete=True,
                   deny_purge=True, max_age=int(AUDIT_AGE * _NANOSECONDS))


def core_configs(replicas: int) -> list[dict[str, Any]]:
    """The streams that every cluster has: actions, calls and topics let go of the oldest, the others refuse."""
    return [
        _config(subjects.ACTIONS, "a.>", replicas, LOG_BYTES, discard="old", max_age=int(LOG_AGE * _NANOSECONDS)),
        _config(subjects.CALLS, "i.>", replicas, CALLS_BYTES, discard="old", max_age=int(LOG_AGE * _NANOSECONDS)),
        _config(subjects.DEAD, "d.>", replicas, DEAD_BYTES),
        _config(subjects.LEDGER, "k.>", replicas, LEDGER_BYTES, allow_msg_ttl=True),
        _config(subjects.MARKS, "n.>", replicas, MARKS_BYTES, discard="old", max_msgs_per_subject=1),
        _config(subjects.TOPICS, "t.>", replicas, TOPICS_BYTES, discard="old", duplicate_window=120 * _NANOSECONDS,
                max_age=int(TOPICS_AGE * _NANOSECONDS)),
    ]


def code_config(max_bytes: int, replicas: int) -> dict[str, Any]:
    """The stream of services' code and wheels; `arint.artifacts.store` says how large it may be."""
    return _config(subjects.CODE, "c.>", replicas, max_bytes, max_msgs_per_subject=1)


def set_aside(limit: int, stages: int) -> int:
    """How much a flow's stream may hold, which the broker sets aside on its disk; UNLIMITED sets nothing aside.

    The declared limit once for each stage and once more. Whatever was accepted can so be brought to its end: a stream
    full of inputs never has to refuse the outputs that would let them go. A flow that asks for more than is usual is
    kept to its limit by its channels.
    """
    return limit * (stages + 1) if limit <= FLOW_BYTES else UNLIMITED


async def reserved(bus: Bus) -> dict[str, int]:
    """What the broker has set aside for each stream."""
    found: dict[str, int] = {}
    while True:
        answer = await api.call(bus, "STREAM.LIST", {"offset": len(found)})
        page = answer.get("streams") or []
        found |= {one["config"]["name"]: max(one["config"]["max_bytes"], 0) for one in page}
        if not page or len(found) >= answer["total"]:
            return found


async def ensure(bus: Bus, config: dict[str, Any], timeout: float = 10.0) -> None:
    """Create the stream, or bring it to this configuration. Idempotent, and safe when several do it at once.

    In how many copies one is kept that stands already is not decided here (`arint.bus.replicas`).
    """
    name = config["name"]
    try:
        await api.call(bus, f"STREAM.CREATE.{name}", config, timeout)
    except (ConflictError, api.BusError) as error:
        if isinstance(error, api.BusError) and error.code != _NO_ROOM:
            raise
        try:
            stands = await api.call(bus, f"STREAM.INFO.{name}", timeout=timeout)
        except NotFoundError:
            raise error from None
        copies = stands["config"].get("num_replicas", 1)
        await api.call(bus, f"STREAM.UPDATE.{name}", config | {"num_replicas": copies}, timeout)


async def ensure_flow(bus: Bus, flow: str, *, max_bytes: int = FLOW_BYTES, replicas: int = 1) -> str:
    """The stream of the flow (token); returns its name. `max_bytes` is reserved on the broker's disk at once."""
    config = flow_config(flow, max_bytes, replicas)
    await ensure(bus, config)
    return str(config["name"])


async def ensure_core(bus: Bus, *, replicas: int = 1) -> None:
    """The streams ACTIONS, DEAD, LEDGER, MARKS and TOPICS."""
    for config in core_configs(replicas):
        await ensure(bus, config)


async def ensure_consumer(bus: Bus, flow: str, stage: str, *, max_ack_pending: int = 100_000,
                          ack_wait: float = ACK_WAIT) -> str:
    """The durable consumer of one stage; returns its name (the stage).

    Make all consumers of a flow before a message is stored in it: the keeper holds on to what no consumer covers.
    Messages that wait for another attempt count as pending, hence the high `max_ack_pending`.
    """
    stream, place = subjects.stream_of(flow), subjects.stage_filter(flow, stage)
    config = {
        "name": stage, "durable_name": stage, "filter_subject": place, "ack_policy": "explicit",
        "deliver_policy": "all", "replay_policy": "instant", "max_deliver": -1, "max_waiting": 4096,
        "ack_wait": int(ack_wait * _NANOSECONDS), "max_ack_pending": max_ack_pending,
    }
    await api.call(bus, f"CONSUMER.CREATE.{stream}.{stage}.{place}", {"stream_name": stream, "config": config}, 10.0)
    return stage


async def reset_consumer(bus: Bus, flow: str, stage: str) -> int:
    """Have everything that is not acked delivered again, in order; returns the last sequence that had been delivered.

    What was acked behind something that was not comes again too.
    """
    stream = subjects.stream_of(flow)
    info = await api.call(bus, f"CONSUMER.INFO.{stream}.{stage}")
    try:
        await api.call(bus, f"CONSUMER.RESET.{stream}.{stage}", timeout=2.0)
    except UnreachableError:  # nats-server before 2.14
        await delete_consumer(bus, stream, stage)
        await ensure_consumer(bus, flow, stage, ack_wait=OWNER_ACK_WAIT)
    return int(info["delivered"]["stream_seq"])


async def delete_consumer(bus: Bus, stream: str, name: str) -> None:
    """Delete a consumer; nothing happens where there is none."""
    try:
        await api.call(bus, f"CONSUMER.DELETE.{stream}.{name}")
    except NotFoundError:
        return


async def delete_stream(bus: Bus, stream: str) -> None:
    """Delete a stream with everything in it; nothing happens where there is none."""
    try:
        await api.call(bus, f"STREAM.DELETE.{stream}")
    except NotFoundError:
        return


async def names(bus: Bus) -> list[str]:
    """The names of all streams."""
    found: list[str] = []
    while True:
        answer = await api.call(bus, "STREAM.NAMES", {"offset": len(found)})
        page = answer.get("streams") or []
        found.extend(page)
        if not page or len(found) >= answer["total"]:
            return found


async def size(bus: Bus, stream: str) -> int:
    """The bytes in a stream; 0 where there is none."""
    try:
        return (await state(bus, stream)).size
    except NotFoundError:
        return 0


async def count(bus: Bus, stream: str, pattern: str) -> int:
    """How many subjects of a stream match. Raises NotFoundError."""
    answer = await api.call(bus, f"STREAM.INFO.{stream}", {"subjects_filter": pattern})
    return len(answer["state"].get("subjects") or {})


async def subjects_in(bus: Bus, stream: str, pattern: str) -> list[str]:
    """The subjects of a stream that match and hold something, at most some ten thousand. Raises NotFoundError."""
    answer = await api.call(bus, f"STREAM.INFO.{stream}", {"subjects_filter": pattern})
    return sorted(answer["state"].get("subjects") or {})


async def state(bus: Bus, stream: str) -> StreamState:
    """How a stream stands. Raises NotFoundError."""
    answer = await api.call(bus, f"STREAM.INFO.{stream}")
    now, config = answer["state"], answer["config"]
    return StreamState(stream, now["messages"], now["bytes"], now["first_seq"], now["last_seq"], config["max_bytes"],
                       now["consumer_count"], now.get("num_subjects", 0))
