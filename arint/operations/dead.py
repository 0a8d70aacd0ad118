"""Dead letters: list, show, edit, replay and drop them. Each is written into the action log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from arint.administration.registry import administrative
from arint.bus.subjects import Place
from arint.errors import BodyLostError, NotFoundError
from arint.message import Failure, Message, size_of
from arint.operations import trail
from arint.operations.messages import (
    ReplayResult,
    body_text,
    checked_in,
    fetched,
    masks_of,
    note,
    previewed,
    run_again,
    shown_body,
    shown_of,
)
from arint.operations.progress import Progress, Step, silent

if TYPE_CHECKING:
    from arint.bus.dead import DeadLetter
    from arint.operations.connect import Link


class DeadFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters; without a flow those of all."""

    flow: str = ""
    limit: int = 50


class DeadSummary(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One dead letter. `at` is when it died, in seconds since the epoch; `kind` and `error` say why.

    `edited` is when it was given another body since, of which the error says nothing.
    """

    message: str
    root: str
    run: int
    flow: str
    stage: str
    at: float
    kind: str = ""
    error: str = ""
    channel: str = ""
    size: int = 0
    edited: float = 0.0


class DeadDetail(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A dead letter in full; `where` and `detail` tell where in the flow or the code it failed."""

    letter: DeadSummary
    where: str = ""
    detail: str = ""
    content_type: str = ""
    correlation_id: str = ""
    headers: dict[str, str] = {}
    variables: dict[str, object] = {}
    body: str | None = None
    body_base64: str | None = None
    shown: int = 0
    """Where only the beginning of a large body stands here: how many bytes of it."""


@administrative("viewer")
async def list_dead(link: Link, wanted: DeadFilter) -> list[DeadSummary]:
    """The newest dead letters, newest first."""
    return [_summary(letter) for letter in await _letters(link, wanted)]


@administrative("viewer")
async def show_dead(link: Link, message: str) -> DeadDetail:
    """A message's dead letter with its body and the reason. Raises NotFoundError."""
    letter = await _get(link, message)
    masks = await masks_of(link, letter.place.flow, letter.message.channel)
    text, coded, shown = None, None, 0
    try:
        found = await previewed(link, letter.message)
    except BodyLostError:
        pass  # it may be what the letter died of, and says so
    else:
        shown = shown_of(found.body)
        text, coded = body_text(shown_body(found, masks), is_cut=shown > 0)
    failure = letter.message.failure
    return DeadDetail(
        letter=_summary(letter), where=failure.where if failure else "", detail=failure.detail if failure else "",
        content_type=letter.message.content_type, correlation_id=letter.message.correlation_id,
        headers=masks.headers(letter.message.headers),
        variables=masks.variables(letter.message.variables), body=text, body_base64=coded, shown=shown)


@administrative("operator")
async def body_of_dead(link: Link, message: str) -> bytes:
    """The whole body of a dead letter. Raises NotFoundError or BodyLostError."""
    return (await fetched(link, (await _get(link, message)).message)).body


@administrative("administrator")
async def edit_dead(link: Link, message: str, body: bytes) -> DeadSummary:
    """Give a dead letter another body; it stays dead until it is replayed. Raises NotFoundError."""
    letter = await _get(link, message)
    failure = letter.message.failure or Failure(kind="", message="")
    failure = msgspec.structs.replace(failure, died=failure.died or letter.at, edited=time.time())
    edited = msgspec.structs.replace(letter.message, body=body, failure=failure)
    await note(link, letter.place, letter.message, outcome="edited", token=f"edited-{time.time_ns()}")
    await _replace(link, letter, edited)
    return _summary(await _get(link, message))


@administrative("operator")
async def replay_dead(link: Link, message: str, progress: Progress = silent) -> ReplayResult:
    """Run a dead letter again at the stage where it died; it is no longer dead then.

    A replay that was cut short is finished, not repeated. Raises NotFoundError.
    """
    from arint.bus.dead import DeadLetters

    bus = await link.bus()
    letter = await _get(link, message)
    progress(Step(f"replaying {letter.place.message} at {letter.place.flow}.{letter.place.stage}"))
    known = await trail.read(bus, letter.place.root)
    run = _begun_replay(letter, known) or 1 + max(place.run for place in known.places)
    result = await run_again(link, letter.place, letter.message, run)
    await DeadLetters(bus).drop(letter)
    return result


@administrative("administrator")
async def drop_dead(link: Link, message: str) -> DeadSummary:
    """Delete a dead letter for good; the action log keeps that it was. Raises NotFoundError."""
    from arint.bus.dead import DeadLetters

    letter = await _get(link, message)
    await note(link, letter.place, letter.message, outcome="dropped", token=f"dropped-{time.time_ns()}")
    await DeadLetters(await link.bus()).drop(letter)
    return _summary(letter)


async def _letters(link: Link, wanted: DeadFilter) -> Sequence[DeadLetter]:
    """An edit that was cut short leaves two of one place: the newer one counts."""
    from arint.bus.dead import DeadLetters

    try:
        found = await DeadLetters(await link.bus()).list(flow=wanted.flow or "*", limit=wanted.limit)
    except NotFoundError:
        return []
    newest: dict[Place, DeadLetter] = {}
    for letter in found:
        newest.setdefault(letter.place, letter)
    return list(newest.values())


async def _get(link: Link, message: str) -> DeadLetter:
    """The dead letter of a message, or the newest of those that it caused."""
    from arint.bus.dead import DeadLetters

    letters = DeadLetters(await link.bus())
    try:
        return await letters.get(message)
    except NotFoundError:
        of_tree = await letters.of_tree(message)
        if not of_tree:
            raise
        return of_tree[-1]


async def _replace(link: Link, letter: DeadLetter, edited: Message) -> None:
    """The new one first: at no moment is there none."""
    from arint.bus.committer import Committer
    from arint.bus.dead import DeadLetters
    from arint.bus.subjects import DEAD
    from arint.message import ENVELOPE_HEADER, encode_envelope, inline

    bus = await link.bus()
    edited = await checked_in(link, edited, letter.place.flow, letter.place.dead)
    committer = Committer(bus, DEAD)
    try:
        await committer.store(letter.place.dead, inline(edited), {ENVELOPE_HEADER: encode_envelope(edited)},
                              expect_new=False)
    finally:
        await committer.close()
    await DeadLetters(bus).drop(letter)


def _begun_replay(letter: DeadLetter, known: trail.Trail) -> int:
    """The run of a replay of this letter that was written down already; 0 if there is none. Pure."""
    runs = [int(name.split(".")[3]) for action in known.actions
            if action.outcome == "replayed" and action.at >= letter.at
            and (action.message, action.run, action.flow, action.stage) == letter.place[1:]
            for name in action.to]
    return max(runs, default=0)


def _summary(letter: DeadLetter) -> DeadSummary:
    place, failure = letter.place, letter.message.failure
    return DeadSummary(
        message=place.message, root=place.root, run=place.run, flow=place.flow, stage=place.stage,
        at=(failure.died if failure else 0.0) or letter.at, edited=failure.edited if failure else 0.0,
        kind=failure.kind if failure else "", error=failure.message if failure else "",
        channel=letter.message.channel, size=size_of(letter.message.body))
