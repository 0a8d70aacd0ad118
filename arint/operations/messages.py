"""Messages: the newest, one in full, and running one again."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from arint.actions import Action
from arint.administration.registry import administrative
from arint.bus.subjects import ACTIONS, Place, stream_of
from arint.errors import NotFoundError, TimedOutError, UnreachableError
from arint.masking import Masks
from arint.message import ENVELOPE_HEADER, Message, StoredBody, encode_envelope, inline, size_of
from arint.operations import trail
from arint.operations.history import applied
from arint.operations.progress import Progress, Step, silent
from arint.operations.story import HELD_UP, Hop, MessageState, Story, held_up, state_of, tell
from arint.plugins import FullError
from arint.resources.kinds import Channel, Flow, Resource

if TYPE_CHECKING:
    from arint.bus.bodies import Bodies
    from arint.operations.connect import Link

_LOOKED_THROUGH = 10_000
"""Records to read where only some messages are wanted: a dead one is not among the newest few."""
PREVIEW = 16 * 2**10
"""Bytes of a large body that are shown."""
_LONGEST_CHARACTER = 4
START = "start"
_BY_HAND = ("edited", "replayed", "dropped")
"""What an administrator did: it says nothing of the message's own beginning."""
_RECORDS_A_MESSAGE = 12
"""How many action records to read for each message to be listed."""


class ListArguments(msgspec.Struct, frozen=True, kw_only=True):
    """Which messages. `since` in seconds since the epoch; empty words ask for all."""

    flow: str = ""
    channel: str = ""
    state: str = ""
    since: float = 0.0
    limit: int = 20


class MessageSummary(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of the list: the message from outside, and how it stands."""

    id: str
    state: MessageState
    channel: str = ""
    flow: str = ""
    stage: str = ""
    at: float = 0.0
    ended: float = 0.0
    attempts: int = 0
    size: int = 0
    error: str = ""


class MessageDetail(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A message as it entered one stage. A body that is not UTF-8 stands in `body_base64`."""

    id: str
    root: str
    run: int
    flow: str
    stage: str
    state: MessageState
    channel: str = ""
    caller: str = ""
    content_type: str = ""
    correlation_id: str = ""
    cause: str = ""
    traceparent: str = ""
    created: float = 0.0
    change_set: int = 0
    headers: dict[str, str] = {}
    variables: dict[str, object] = {}
    size: int = 0
    body: str | None = None
    body_base64: str | None = None
    shown: int = 0
    """Where only the beginning of a large body stands here: how many bytes of it."""
    stages: tuple[str, ...] = ()


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was stored to be run again."""

    id: str
    root: str
    run: int
    flow: str
    stage: str
    state: MessageState = "processing"
    """Where the message stood when it was last looked at."""
    error: str = ""


@administrative("viewer")
async def list_messages(link: Link, arguments: ListArguments) -> list[MessageSummary]:
    """The newest messages, the newest first, as the action log tells of them."""
    limit = arguments.limit * _RECORDS_A_MESSAGE
    if arguments.channel or arguments.state or arguments.since:
        limit = max(limit, _LOOKED_THROUGH)
    records = await trail.newest_actions(await link.bus(), flow=arguments.flow, limit=limit)
    by_root: dict[str, list[Action]] = defaultdict(list)
    for record in reversed(records):
        by_root[record.root].append(record)
    for root in [root for root, actions in by_root.items() if not _is_from_its_start(actions)]:
        by_root[root] = await trail.actions_of_root(await link.bus(), root) or by_root[root]
    found = [summary(root, actions) for root, actions in by_root.items()]
    wanted = [message for message in found if _fits(message, arguments)]
    return sorted(wanted, key=lambda message: message.at, reverse=True)[:arguments.limit]


def _is_from_its_start(actions: Sequence[Action]) -> bool:
    """Whether the first thing that happened to the message is among these records, and not older than they are."""
    return any(action.outcome == "answered" or (action.stage == START and not action.run
                                                and action.outcome not in _BY_HAND) for action in actions)


def summary(root: str, actions: Sequence[Action]) -> MessageSummary:
    """How a message stands, from its action records alone, in the order of storing. Pure."""
    story = tell(root, (), actions)
    # Of several branches, the one that stands so: another may have ended after it
    standing = (hop.attempts[-1] for hop in story.hops if hop.state == story.state and hop.attempts)
    last = next(standing, actions[-1]) if story.state in ("dead", "paused") else actions[-1]
    begun = {hop.stage for hop in story.hops}
    is_waiting = any(_stage_in(name) not in begun for action in actions for name in action.to
                     if not name.startswith("topic/"))
    state = "processing" if story.state == "done" and is_waiting else story.state
    return MessageSummary(
        id=root, state=state, channel=story.channel, flow=story.flow, stage=last.stage,
        at=min(action.at for action in actions), ended=story.ended if state == story.state else 0.0,
        attempts=max(action.attempt for action in actions), size=max(action.size for action in actions),
        error=last.error if state in ("dead", "paused") or last.outcome in ("failed", "answered") else "")


@administrative("viewer")
async def story_of(link: Link, message: str) -> Story:
    """Every hop of a message and of all that came of it. Raises NotFoundError."""
    found = await trail.read(await link.bus(), message)
    story = tell(found.root, found.inputs, found.actions, [letter.place for letter in found.dead])
    if not any(hop.state in HELD_UP for hop in story.hops):
        return story
    return held_up(story, *await _away(link))


async def _away(link: Link) -> tuple[dict[str, float], dict[str, Resource]]:
    """The connections whose systems are away, since when, and what is applied; nothing where no agent answers."""
    try:
        circuits = [one.circuits for one in (await link.agent.status()).instances if one.circuits]
    except (UnreachableError, TimedOutError):
        return {}, {}
    away: dict[str, float] = {}
    for connection, since in (pair for one in circuits for pair in one.items()):
        away[connection] = min(since, away.get(connection, since))
    return away, (await applied(link))[1] if away else {}


@administrative("viewer")
async def show_message(link: Link, message: str, *, stage: str = "") -> MessageDetail:
    """A message as it came in, or as it entered `stage`. Raises NotFoundError, also where it was trimmed."""
    found = await trail.read(await link.bus(), message)
    stored = _pick(found, message, stage)
    hops = tell(found.root, found.inputs, found.actions, [letter.place for letter in found.dead]).hops
    masks = await masks_of(link, stored.place.flow, stored.message.channel)
    return _detail(stored.place, await previewed(link, stored.message), hops, masks)


async def masks_of(link: Link, flow: str, channel: str) -> Masks:
    """What must not be shown of a message in this flow that came in by this channel."""
    _, resources = await applied(link)
    declared = [resources.get(f"Flow/{flow}"), resources.get(f"Channel/{channel}")]
    return Masks(path for one in declared if isinstance(one, Flow | Channel) for path in one.mask)


def shown_body(message: Message, masks: Masks) -> bytes:
    """The body, or its beginning, as it may be shown."""
    body = message.body
    return masks.body(bytes(body), message.content_type, whole=not shown_of(body))


@administrative("operator")
async def body_of(link: Link, message: str, *, stage: str = "") -> bytes:
    """The whole body of a message as it came in, or as it entered `stage`. Raises NotFoundError or BodyLostError."""
    stored = _pick(await trail.read(await link.bus(), message), message, stage)
    return (await fetched(link, stored.message)).body


async def previewed(link: Link, message: Message) -> Message:
    """The message with its body, or with the beginning of a large one (`shown_of` tells). Raises BodyLostError."""
    body = message.body
    if not isinstance(body, StoredBody):
        return message
    async with _bodies(link) as bodies:
        beginning = await bodies.beginning(body.claim, PREVIEW)
    return msgspec.structs.replace(message, body=StoredBody(body.claim, beginning))


async def fetched(link: Link, message: Message) -> Message:
    """The message with all of its body. Raises BodyLostError."""
    async with _bodies(link) as bodies:
        return await bodies.fetch(message)


def shown_of(body: bytes) -> int:
    """How many bytes of a large body are here; 0 where all are."""
    return len(body) if isinstance(body, StoredBody) and len(body) < body.claim.size else 0


@administrative("operator")
async def replay_message(link: Link, message: str, *, stage: str = "", progress: Progress = silent) -> ReplayResult:
    """Store a message once more, as a run of its own, to enter at `stage` (default: where it came in).

    Raises NotFoundError where its input was trimmed already.
    """
    bus = await link.bus()
    found = await trail.read(bus, message)
    stored = _pick(found, message, stage)
    progress(Step(f"replaying {stored.place.message} at {stored.place.flow}.{stored.place.stage}"))
    run = 1 + max(place.run for place in found.places)
    return await run_again(link, stored.place, stored.message, run)


async def run_again(link: Link, place: Place, message: Message, run: int) -> ReplayResult:
    """Store a message as the run `run` at `place`. What is written down first can be finished after a crash.

    Raises NotFoundError where the flow is gone, UnreachableError where its stream takes nothing.
    """
    again = place._replace(run=run)
    streams = await trail.flow_streams(await link.bus())
    if stream_of(place.flow) not in streams:
        raise NotFoundError(f"the flow {place.flow} is no longer there", where=place.message,
                            remedy="apply it again, then replay")
    fresh = await checked_in(link, msgspec.structs.replace(message, run=run, failure=None), place.flow, again.subject)
    await note(link, place, message, outcome="replayed", token=f"replayed-{run}", to=(again.subject,))
    await _store(link, stream_of(place.flow), again.subject, inline(fresh), {ENVELOPE_HEADER: encode_envelope(fresh)})
    return ReplayResult(id=place.message, root=place.root, run=run, flow=place.flow, stage=place.stage)


async def note(link: Link, place: Place, message: Message, *, outcome: str, token: str,
               to: tuple[str, ...] = ()) -> None:
    """Write into the action log what an administrator did with a message."""
    action = msgspec.convert({
        "root": place.root, "message": place.message, "run": place.run, "flow": place.flow, "stage": place.stage,
        "attempt": max(message.attempt, 1), "at": time.time(), "node": link.config.node, "instance": "arintctl",
        "outcome": outcome, "to": to, "change_set": message.change_set, "channel": message.channel,
        "size": size_of(message.body)}, Action)
    await _store(link, ACTIONS, f"{place.actions[:-1]}{token}", msgspec.json.encode(action), {})


async def checked_in(link: Link, message: Message, flow: str, referrer: str) -> Message:
    """The message as it may be stored under the subject `referrer`: a large body is in the store of bodies.

    Raises BodyLostError where a body that was there is no longer.
    """
    async with _bodies(link) as bodies:
        try:
            ready = await bodies.check_in(message, flow, referrer)
        except FullError as error:
            raise _not_taken(error, flow) from None
        if isinstance(message.body, StoredBody):
            await bodies.verify(message.body.claim)  # what it was read from may be trimmed, and the body swept, by now
        return ready


@asynccontextmanager
async def _bodies(link: Link) -> AsyncIterator[Bodies]:
    from arint.bus.bodies import Bodies
    from arint.bus.committer import Committer

    bus, committers = await link.bus(), dict[str, Committer]()

    def committer(stream: str) -> Committer:
        if stream not in committers:
            committers[stream] = Committer(bus, stream)
        return committers[stream]

    try:
        yield Bodies(bus, committer)
    finally:
        for one in committers.values():
            await one.close()


async def _store(link: Link, stream: str, subject: str, body: bytes, headers: Mapping[str, str | bytes]) -> None:
    from arint.bus.committer import Committer

    committer = Committer(await link.bus(), stream)
    try:
        await committer.store(subject, body, headers)
    except FullError as error:
        raise _not_taken(error, stream) from None
    finally:
        await committer.close()


def _not_taken(error: FullError, where: str) -> UnreachableError:
    return UnreachableError(f"the bus did not take it: {error}", where=where,
                            remedy="see arintctl doctor, then do it again: nothing is stored twice")


def body_text(body: bytes, *, is_cut: bool = False) -> tuple[str | None, str | None]:
    """The body as text, or else in base 64. One that is cut may end in the middle of a character."""
    try:
        return body.decode(), None
    except UnicodeDecodeError as error:
        if is_cut and error.start >= len(body) - _LONGEST_CHARACTER:
            return body[:error.start].decode(), None
        return None, base64.b64encode(body).decode()


async def until_settled(link: Link, message: str, *, timeout: float, progress: Progress = silent) -> Story:
    """Wait until nothing of a message is under way any more; what it waits for is told. Raises TimedOutError."""
    deadline = time.monotonic() + timeout
    said = ""
    while time.monotonic() < deadline:
        try:
            story = await story_of(link, message)
        except NotFoundError:
            await asyncio.sleep(0.1)
            continue
        if state_of(story.hops) in ("done", "dead"):
            return story
        if (waiting := _waiting(story)) != said:
            progress(Step(said := waiting))
        await asyncio.sleep(0.1)
    raise TimedOutError(f"the message is not settled after {timeout:g} s{said and f': {said}'}", where=message,
                        remedy=f"it goes on by itself; arintctl why {message}")


async def settled(link: Link, replay: ReplayResult, *, timeout: float, progress: Progress = silent) -> ReplayResult:
    """What became of a replay: its state, and the error where it died again. Raises TimedOutError."""
    story = await until_settled(link, replay.root, timeout=timeout, progress=progress)
    errors = [action.error for hop in story.hops if hop.state == "dead" and hop.run == replay.run
              for action in hop.attempts if action.error]
    return msgspec.structs.replace(replay, state=story.state, error=errors[-1] if errors else "")


def _waiting(story: Story) -> str:
    """Which systems a message waits for; empty where it is just being worked at. Pure."""
    away = {hop.away: hop.away_since for hop in story.hops if hop.away}
    return ", ".join(f"{connection} has been away since {_clock(since)}; its messages wait for it"
                     for connection, since in sorted(away.items()))


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%SZ")


def _fits(message: MessageSummary, arguments: ListArguments) -> bool:
    return ((not arguments.channel or message.channel == arguments.channel)
            and (not arguments.state or message.state == arguments.state)
            and message.at >= arguments.since)


def _stage_in(name: str) -> str:
    """The stage that an action's `to` names: by itself, after its flow, or as a whole subject."""
    return name.replace("/", ".").rpartition(".")[2]


def _pick(found: trail.Trail, message: str, stage: str) -> trail.StoredInput:
    """The stored input asked for: the message's first, or that of a stage (its newest run)."""
    mine = [item for item in found.stored if item.place.message == message] or list(found.stored)
    if stage:
        mine = [item for item in found.stored if item.place.stage == stage]
    if not mine:
        known = ", ".join(sorted({item.place.stage for item in found.stored})) or "none: they were trimmed"
        raise NotFoundError(f"its input of stage {stage or 'start'} is not kept", where=message,
                            remedy=f"kept: {known}; a flow's `keep` says how long")
    return mine[-1] if stage else mine[0]


def _detail(place: Place, message: Message, hops: Sequence[Hop], masks: Masks) -> MessageDetail:
    text, coded = body_text(shown_body(message, masks), is_cut=shown_of(message.body) > 0)
    return MessageDetail(
        id=place.message, root=place.root, run=place.run, flow=place.flow, stage=place.stage, state=state_of(hops),
        channel=message.channel, caller=message.caller, content_type=message.content_type,
        correlation_id=message.correlation_id, cause=message.cause, traceparent=message.traceparent,
        created=message.created, change_set=message.change_set, headers=masks.headers(message.headers),
        variables=masks.variables(message.variables), size=size_of(message.body), body=text, body_base64=coded,
        shown=shown_of(message.body),
        stages=tuple(dict.fromkeys(hop.stage for hop in hops)))
