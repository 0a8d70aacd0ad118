"""Recordings of what became of a message: of a sample in memory, or of a message that went through the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from arint.errors import NotFoundError
from arint.operations.flows import FlowTestArguments, flow_test

if TYPE_CHECKING:
    from arint.operations.connect import Link
    from arint.testing import Recording


class Recorded(msgspec.Struct, frozen=True):
    """Where a recording was written, and what it says."""

    file: str
    flow: str
    state: str
    changed: bool
    """Whether the file is new, or says something else than before."""


class Checked(msgspec.Struct, frozen=True):
    """How a sample's outcome compares with what was recorded: a diff, empty where it is the same."""

    file: str
    flow: str
    difference: str


def recording_file(sample: Path) -> Path:
    """Where the recording of a sample is: beside it."""
    from arint.testing.recording import SUFFIX

    return sample if sample.name.endswith(SUFFIX) else sample.with_name(f"{sample.name}{SUFFIX}")


async def record_sample(link: Link, arguments: FlowTestArguments, sample: Path) -> Recorded:
    """Run a sample through its flow, in memory, and write what became of it beside it."""
    from arint.testing.clock import Clock
    from arint.testing.compare import body_of
    from arint.testing.recording import Recording, outcome

    recording = Recording(
        flow=arguments.flow, sample=sample.name, content_type=arguments.content_type, headers=arguments.headers,
        answers={target: body_of(_as_message(found[0])) for target, found in arguments.answers.items()},
        further_answers={target: [body_of(_as_message(one)) for one in found[1:]]
                         for target, found in arguments.answers.items() if found[1:]})
    test = await flow_test(link, arguments, Clock())
    run = await test.run_async(recording.message(sample.parent))
    recording.expect = outcome(run)
    file = recording_file(sample)
    before = file.read_bytes() if file.exists() else b""
    recording.save(file)
    state = "dead" if run.failure is not None else "done"
    return Recorded(str(file), arguments.flow, state, file.read_bytes() != before)


async def check_sample(link: Link, arguments: FlowTestArguments, sample: Path) -> Checked:
    """Replay a recording, with the headers and answers that it holds. Raises NotFoundError where there is none."""
    from arint.testing.clock import Clock
    from arint.testing.recording import Recording, as_body, compare

    file = recording_file(sample)
    recording = Recording.load(file)
    answers = {target: tuple(as_body(one, "application/json")
                             for one in (answer, *recording.further_answers.get(target, ())))
               for target, answer in recording.answers.items()}
    known = msgspec.structs.replace(arguments, flow=arguments.flow or recording.flow,
                                    answers={**answers, **arguments.answers})
    test = await flow_test(link, known, Clock())
    run = await test.run_async(recording.message(file.parent))
    return Checked(str(file), known.flow, compare(recording, run, name=file.name))


async def record_message(link: Link, message: str) -> Recording:
    """A message that went through the cluster: as it came in, and the body with which each of its stages began.

    What stands under a name that tells of a secret is masked, and what the flow or the channel declares. Raises
    NotFoundError, also where its input is no longer kept.
    """
    from arint.operations import trail
    from arint.operations.messages import fetched, masks_of, story_of
    from arint.testing.compare import body_of
    from arint.testing.recording import Recording

    story = await story_of(link, message)
    found = await trail.read(await link.bus(), story.id)
    mine = [item for item in found.stored if item.place.message == message and not item.place.run]
    if not mine or mine[0].place.stage != "start":
        raise NotFoundError("its input is no longer kept", where=message, remedy="a flow's `keep` says how long it is")
    first = mine[0].message
    masks = await masks_of(link, mine[0].place.flow, first.channel)
    stages: dict[str, Any] = {}
    for item in mine:
        if item.place.flow == mine[0].place.flow:
            stages[item.place.stage] = masks.value(body_of(await fetched(link, item.message)))
    failures = [action for hop in story.hops for action in hop.attempts if action.outcome == "dead"]
    expect: dict[str, Any] = {"state": "dead" if failures else "done", "stages": stages}
    if failures:
        expect["error"] = {"kind": failures[0].error_kind, "message": failures[0].error, "stage": failures[0].stage}
    return Recording(flow=mine[0].place.flow, body=stages["start"], content_type=first.content_type,
                     headers=masks.headers(first.headers), id=first.id, created=first.created, expect=expect)


def _as_message(body: bytes) -> Any:
    from arint.message import Message

    return Message(body=body)
