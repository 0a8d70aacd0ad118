"""Messages with what became of them, as files: written once, looked at by people, and compared with from then on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from arint.errors import NotFoundError, NotValidError
from arint.message import Message
from arint.resources.manifests import RECORDED
from arint.testing.answers import in_order
from arint.testing.clock import Clock
from arint.testing.compare import as_yaml, body_of, difference
from arint.testing.flows import FlowTest
from arint.testing.masking import masked
from arint.testing.results import FlowRun

SUFFIX = RECORDED
IDENTITY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
"""The id of a sample, so that what is derived of it is the same each time."""
UNCHANGED = "(unchanged)"
_HEAD = "# What became of a message. Written by arintctl; read it, then keep it beside the flow.\n"


class Recording(msgspec.Struct, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """A message, what stood for the systems it met, and what became of it.

    The body stands here, or in the file `sample` beside this one. `id` and `created` (seconds since the epoch) are
    those of a message that went through a cluster. `answers` by target (`service/approve`). Only what
    `expect` holds is compared: what is of no interest may be deleted from it.
    """

    flow: str
    sample: str = ""
    body: Any = None
    content_type: str = "application/json"
    headers: dict[str, str] = {}
    id: str = ""
    created: float = 0.0
    answers: dict[str, Any] = {}
    further_answers: dict[str, list[Any]] = {}
    """Those that come after the first, where a target answers otherwise each time."""
    expect: dict[str, Any] = {}

    def save(self, file: Path) -> None:
        """Write it, for people to read."""
        file.write_text(_HEAD + as_yaml(self), encoding="utf-8")

    @classmethod
    def load(cls, file: Path) -> Recording:
        """Read it. Raises NotFoundError or NotValidError."""
        try:
            return msgspec.convert(yaml.safe_load(file.read_text(encoding="utf-8")), cls)
        except OSError as error:
            raise NotFoundError(f"cannot be read: {error.strerror}", where=str(file),
                                remedy="write it first: arintctl flow test … --record") from None
        except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
            raise NotValidError(f"this is no recording: {error}", where=str(file)) from None

    def message(self, folder: Path) -> Message:
        """The message that goes in. Raises NotFoundError where the sample is gone."""
        body = self.body
        if self.sample:
            try:
                body = (folder / self.sample).read_bytes()
            except OSError as error:
                raise NotFoundError(f"the sample cannot be read: {error.strerror}",
                                    where=str(folder / self.sample)) from None
        identity = self.id or IDENTITY
        return Message.new(as_body(body, self.content_type), id=identity, root=identity, correlation_id=identity,
                           created=self.created or Clock().time(), content_type=self.content_type,
                           headers=dict(self.headers), channel="flow-test")


def outcome(run: FlowRun) -> dict[str, Any]:
    """What became of a message in memory, as a recording holds it; secrets masked."""
    told: dict[str, Any] = {"state": "dead" if run.failure is not None else "done"}
    if run.failure is not None:
        told["error"] = {"kind": run.failure.kind, "message": run.failure.message, "stage": run.failed_in}
    told["steps"] = list(_steps(run))
    told["sent"] = [{sent.target: body_of(sent.message)} for sent in run.sent]
    if run.logs:
        told["log"] = [f"{level}: {text}" for level, text in run.logs]
    found: dict[str, Any] = masked(told)
    return found


def _steps(run: FlowRun) -> Iterator[dict[str, Any]]:
    """The message after each step; a step that left it as it was says so."""
    before: Any = _message(run.entered[0][1]) if run.entered else None
    for step in run.steps:
        after = _message(step.message)
        yield {f"{step.path}-{step.key}": UNCHANGED if after == before else after}
        before = after


def entered(run: FlowRun) -> dict[str, Any]:
    """The body with which each stage began, as `message record` has it from the bus; secrets masked."""
    found: dict[str, Any] = masked({stage: body_of(message) for stage, message in run.entered})
    return found


def compare(recording: Recording, run: FlowRun, *, name: str = "recorded") -> str:
    """Where the run is not what was recorded, as a diff; empty where it is. Pure."""
    now = {**outcome(run), "stages": entered(run)}
    shown = {key: now.get(key) for key in recording.expect}
    if "stages" in recording.expect:
        kept = recording.expect["stages"]
        shown["stages"] = {stage: body for stage, body in now["stages"].items() if stage in kept}
    return difference(recording.expect, shown, expected_name=name, found_name="now")


def check_recording(file: str | Path, manifests: str | Path, *, clock: Clock | None = None, **more: Any) -> FlowRun:
    """Replay a recording through its flow in memory; raises AssertionError with a diff where it ends otherwise.

    `more` is given to FlowTest: what stands for services and connections, beside the answers that were recorded.
    """
    path = Path(file)
    recording = Recording.load(path)
    test = FlowTest(manifests, name=recording.flow, clock=clock or Clock(),
                    services={**answers_for(recording, "service"), **more.pop("services", {})},
                    connections={**answers_for(recording, "connection"), **more.pop("connections", {})}, **more)
    run = test.run(recording.message(path.parent))
    found = compare(recording, run, name=path.name)
    if found:
        raise AssertionError(f"{recording.flow} does something else than was recorded:\n{found}")
    return run


def answers_for(recording: Recording, kind: str) -> dict[str, Any]:
    """What stands for the services, or connections, by name."""
    further = recording.further_answers
    return {target.partition("/")[2]: in_order(answer, *further[target]) if target in further else answer
            for target, answer in recording.answers.items()
            if target.partition("/")[0] == kind}


def _message(message: Message) -> Any:
    """The body, and what else of the message a flow can change."""
    told = {"body": body_of(message), "headers": message.headers, "variables": message.variables}
    rest = {key: value for key, value in told.items() if value and key != "body"}
    return {"body": told["body"], **rest} if rest else told["body"]


def as_body(value: Any, content_type: str) -> bytes:
    """A body as it was, of how it is written in a recording."""
    if isinstance(value, bytes):
        return value
    if value is None:
        return b""
    if isinstance(value, str) and "json" not in content_type:
        return value.encode()
    return msgspec.json.encode(value)
