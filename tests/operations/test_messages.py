"""Messages and dead letters against a real broker: listed, shown, replayed, edited, dropped; and told in the log."""

from __future__ import annotations

import msgspec
import pytest

from arint.actions import Action
from arint.bus.committer import Committer
from arint.bus.dead import DeadLetters
from arint.bus.subjects import ACTIONS, Place, stream_of
from arint.errors import NotFoundError
from arint.message import ENVELOPE_HEADER, Failure, Message, encode_envelope
from arint.operations import messages
from arint.operations.connect import Link
from arint.operations.dead import DeadFilter, drop_dead, edit_dead, list_dead, replay_dead, show_dead
from arint.operations.events import EventFilter, past
from arint.operations.open_letters import open_letters
from arint.operations.probe import pass_a_message

STAGE = "1-call-price"


async def store(link: Link, message: Message, flow: str, stage: str) -> Place:
    place = Place(message.root, message.id, message.run, flow, stage)
    committer = Committer(await link.bus(), stream_of(flow))
    await committer.store(place.subject, message.body, {ENVELOPE_HEADER: encode_envelope(message)})
    await committer.close()
    return place


async def act(link: Link, place: Place, outcome: str, **more: object) -> None:
    record = msgspec.convert({"root": place.root, "message": place.message, "run": place.run, "flow": place.flow,
                              "stage": place.stage, "attempt": 1, "at": 1.0, "outcome": outcome, **more}, Action)
    committer = Committer(await link.bus(), ACTIONS)
    await committer.store(place.action(1), msgspec.json.encode(record), {})
    await committer.close()


async def a_dead_letter(link: Link, flow: str) -> Message:
    """A message that came in, went one stage on, and died there."""
    message = Message.new(b'{"id": 1}', channel="orders-in", headers={"x-a": "b"})
    start = await store(link, message, flow, "start")
    await act(link, start, "done", to=(f"{flow}/{STAGE}",), at=message.created)
    place = await store(link, message, flow, STAGE)
    await act(link, place, "dead", error="no price", error_kind="ValueError", at=message.created + 1)
    message.failure = Failure(kind="ValueError", message="no price", where=STAGE, detail="Traceback …")
    letters = DeadLetters(await link.bus())
    await letters.store(message, flow, STAGE)
    await letters.close()
    return message


async def test_a_probe_passes(link: Link) -> None:
    await pass_a_message(await link.bus())


async def test_a_dead_letter_is_listed_edited_replayed_and_told(link: Link, flow: str) -> None:
    message = await a_dead_letter(link, flow)
    listed = await list_dead(link, DeadFilter(flow=flow))
    assert listed[0].message == message.id
    assert (listed[0].kind, listed[0].error) == ("ValueError", "no price")
    (known,) = [one for one in await messages.list_messages(link, messages.ListArguments())
                if one.id == message.id]
    assert (known.state, known.stage) == ("dead", STAGE)

    died = (await show_dead(link, message.id)).letter.at
    edited = await edit_dead(link, message.id, b'{"id": 2}')
    assert edited.at == died < edited.edited, "it died when it died, not when it was edited"
    detail = await show_dead(link, message.id)
    assert detail.body == '{"id": 2}'
    assert detail.detail == "Traceback …"
    assert len([one for one in await list_dead(link, DeadFilter(flow=flow)) if one.message == message.id]) == 1

    replayed = await replay_dead(link, message.id)
    assert (replayed.run, replayed.stage) == (1, STAGE)
    with pytest.raises(NotFoundError):
        await show_dead(link, message.id)
    shown = await messages.show_message(link, message.id, stage=STAGE)
    assert (shown.run, shown.body) == (1, '{"id": 2}')

    story = await messages.story_of(link, message.id)
    assert [(hop.depth, hop.run, hop.state) for hop in story.hops] == [
        (0, 0, "done"), (1, 0, "replayed"), (2, 1, "waiting")]
    outcomes = [record.outcome for record in await past(link, EventFilter(flow=flow)) if record.root == message.id]
    assert outcomes == ["done", "dead", "edited", "replayed"]


@pytest.mark.parametrize("pattern", ["*", ">", "*.*", "", " ", "x>", "\n"])
async def test_a_pattern_is_no_message(link: Link, flow: str, pattern: str) -> None:
    await a_dead_letter(link, flow)
    for work in (show_dead, replay_dead, drop_dead, messages.show_message, messages.replay_message, messages.story_of):
        with pytest.raises(NotFoundError):
            await work(link, pattern)


async def test_open_letters_are_those_that_wait_for_somebody_not_deaths(link: Link, flow: str) -> None:
    async def counted() -> int:
        found = await open_letters(link)
        assert found is not None
        return found

    before = await counted()
    message, other = await a_dead_letter(link, flow), await a_dead_letter(link, flow)
    assert await counted() == before + 2
    await edit_dead(link, message.id, b"{}")
    assert await counted() == before + 2
    again = await replay_dead(link, message.id)
    assert await counted() == before + 1
    letters = DeadLetters(await link.bus())  # and it dies again
    await letters.store(msgspec.structs.replace(message, run=again.run), flow, STAGE)
    await letters.close()
    assert await counted() == before + 2, "three deaths, two letters"
    await drop_dead(link, other.id)
    assert await counted() == before + 1
    await drop_dead(link, message.id)
    assert await counted() == before


async def test_a_replay_that_was_cut_short_is_finished_not_repeated(link: Link, flow: str) -> None:
    message = await a_dead_letter(link, flow)
    place = Place(message.root, message.id, 0, flow, STAGE)
    letters = await DeadLetters(await link.bus()).of_tree(message.root)
    await messages.run_again(link, place, letters[0].message, 1)  # and then the machine went down
    again = await replay_dead(link, message.id)
    assert again.run == 1
    story = await messages.story_of(link, message.id)
    assert [hop.run for hop in story.hops] == [0, 0, 1]


async def test_dropped_for_good(link: Link, flow: str) -> None:
    message = await a_dead_letter(link, flow)
    await drop_dead(link, message.id)
    with pytest.raises(NotFoundError):
        await drop_dead(link, message.id)
    assert (await messages.story_of(link, message.id)).state == "done"


async def test_a_message_is_replayed_from_the_start(link: Link, flow: str) -> None:
    message = await a_dead_letter(link, flow)
    result = await messages.replay_message(link, message.id)
    assert (result.run, result.stage) == (1, "start")
    assert (await messages.replay_message(link, message.id)).run == 2
    with pytest.raises(NotFoundError, match="kept"):
        await messages.replay_message(link, message.id, stage="9-call-nothing")


async def test_a_child_leads_to_its_root(link: Link, flow: str) -> None:
    message = Message.new(b"x")
    start = await store(link, message, flow, "start")
    await act(link, start, "done", at=2.0)
    child = message.derive("start", 0)
    await store(link, child, flow, "start")
    assert (await messages.story_of(link, child.id)).id == message.id
    with pytest.raises(NotFoundError):
        await messages.story_of(link, "01NOTHING")


async def test_a_body_that_is_not_text(link: Link, flow: str) -> None:
    message = Message.new(b"\xff\x00")
    await store(link, message, flow, "start")
    shown = await messages.show_message(link, message.id)
    assert (shown.body, shown.body_base64) == (None, "/wA=")


async def test_the_list_knows_when_a_message_began_however_few_are_asked_for(link: Link, flow: str) -> None:
    message = await a_dead_letter(link, flow)
    place = Place(message.root, message.id, 0, flow, STAGE)
    committer = Committer(await link.bus(), ACTIONS)
    for number in range(2, 40):  # more than are read for one message
        record = Action(root=message.root, message=message.id, flow=flow, stage=STAGE, attempt=number, outcome="failed",
                        at=message.created + 1 + number, error="no price")
        await committer.store(place.action(number), msgspec.json.encode(record), {})
    await committer.close()
    (newest,) = await messages.list_messages(link, messages.ListArguments(limit=1))
    assert newest.id == message.id
    assert newest.at == message.created
    assert newest.attempts == 39


async def test_a_rare_outcome_is_found_behind_many_others(link: Link, flow: str) -> None:
    message = await a_dead_letter(link, flow)
    place = Place(message.root, message.id, 0, flow, STAGE)
    committer = Committer(await link.bus(), ACTIONS)
    for number in range(2, 60):
        record = Action(root=message.root, message=message.id, flow=flow, stage=STAGE, attempt=number, outcome="done",
                        at=message.created + number)
        await committer.store(place.action(number), msgspec.json.encode(record), {})
    await committer.close()
    found = await past(link, EventFilter(outcome="dead", limit=1))
    assert [(record.root, record.outcome) for record in found] == [(message.root, "dead")]


async def test_an_id_may_be_typed_in_lower_case(link: Link, flow: str) -> None:
    message = await a_dead_letter(link, flow)
    assert (await messages.story_of(link, message.id.lower())).id == message.id
