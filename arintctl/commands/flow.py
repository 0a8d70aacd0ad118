"""flow test: a sample through a flow, the message after each step."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arint.errors import ArintError, NotFoundError, UsageError
from arintctl import layout
from arintctl.completion import complete_flow
from arintctl.output import Column, Table, aligned, write
from arintctl.session import Session
from arintctl.text import printable
from arintctl.verb import commands, verb

if TYPE_CHECKING:
    from arint.operations.flows import DeliveryResult, FlowTestArguments, FlowTestResult, StepResult

app = commands()


@verb(app, "test", example="arintctl flow test orders examples/orders/samples/01-bolts.json -f examples/orders")
def test(session: Session,
         flow: Annotated[str, typer.Argument(help="The flow's name.", autocompletion=complete_flow)],
         sample: Annotated[Path, typer.Argument(help="A file with the body; - for stdin.")], *,
         manifests: Annotated[list[Path] | None, typer.Option("-f", "--file", help="Manifests; default: what is "
                                                                                  "applied.")] = None,
         header: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE",
                                                          help="A header of the message.")] = None,
         answer: Annotated[list[str] | None, typer.Option(metavar="TARGET=FILE", help="The answer of a service or "
                                                          "connection, such as service/approve=yes.json. Again: its "
                                                          "next answer; the last one stays.")] = None,
         content_type: Annotated[str, typer.Option(help="Of the body.")] = "application/json",
         record: Annotated[bool, typer.Option("--record", help="Write what became of it to SAMPLE.expected.yaml.")] = (
             False),
         check: Annotated[bool, typer.Option("--check", help="Compare with what --record wrote; exit 1 where it "
                                                             "differs.")] = False) -> None:
    """Send a sample through a flow and show the message after each step.

    In memory: nothing is stored and nothing sent. Services are really run, unless --answer stands for them.
    """
    from arint.operations.flows import FlowTestArguments, try_flow

    if (record or check) and str(sample) == "-":
        raise UsageError("a recording stands beside its sample: stdin has no place", remedy="name a file")
    arguments = FlowTestArguments(
        flow=flow, body=_read(sample), paths=tuple(manifests or ()), content_type=content_type,
        headers={name.lower(): value for name, value in map(_pair, header or ())},
        answers=_answers(answer or ()))
    if record or check:
        _record(session, arguments, sample) if record else _check(session, arguments, sample)
        return
    result = session.run(lambda link, progress: try_flow(link, arguments, progress))
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write(result.state)
    else:
        write(_told(result))
    if result.state == "dead":
        error = result.error.removeprefix(f"{result.where}: ")
        raise ArintError(f"{result.error_kind}: {error}", where=f"flow/{result.flow}: {result.where}")


def _record(session: Session, arguments: FlowTestArguments, sample: Path) -> None:
    from arint.operations.recordings import record_sample

    result = session.run(lambda link, _: record_sample(link, arguments, sample))
    if session.is_data:
        session.data(result)
    else:
        told = f"{'written' if result.changed else 'unchanged'}; the message is {result.state}"
        write(result.file if session.form == "name" else f"{result.file}: {told}")


def _check(session: Session, arguments: FlowTestArguments, sample: Path) -> None:
    """Raises ArintError where it differs; the diff is data."""
    from arint.operations.recordings import check_sample

    result = session.run(lambda link, _: check_sample(link, arguments, sample))
    if session.is_data:
        session.data(result)
    elif session.form == "name":
        write(result.file)
    else:
        write(printable(result.difference, multiline=True) or f"{result.file}: as it was recorded")
    if result.difference:
        raise ArintError("it is not what was recorded", where=result.file,
                         remedy="where that is right, record it anew: --record")


def _answers(given: Sequence[str]) -> dict[str, tuple[bytes, ...]]:
    """What answers for each target, in the order in which it was given."""
    found: dict[str, tuple[bytes, ...]] = {}
    for target, file in map(_pair, given):
        found[target] = (*found.get(target, ()), _read(Path(file)))
    return found


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise UsageError(f"{text!r} is no NAME=VALUE")
    return name, value


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise NotFoundError(f"cannot be read: {error.strerror}", where=str(file)) from None


def _told(result: FlowTestResult) -> str:
    parts = [_step(step) for step in result.steps]
    if result.deliveries:
        parts.append(aligned(result.deliveries, DELIVERIES, wide=False, width=layout.width()))
    parts += [printable("\n".join(result.log), multiline=True)] if result.log else []
    parts.append(f"flow {result.flow}: {result.state}")
    return "\n\n".join(parts)


def _step(step: StepResult) -> str:
    title = printable(f"{step.flow}.{step.stage}  {step.step}")
    if step.unchanged:
        return f"{title}\n    (unchanged)"
    lines = [_body(step), *(f"{name} = {value}" for name, value in step.variables.items())]
    return "\n".join([title, *(layout.wrapped(printable(line), layout.width(), "    ", "    ") for line in lines)])


def _body(of: StepResult | DeliveryResult) -> str:
    """On one line: white space between JSON's words says nothing."""
    return " ".join(of.body.split()) if of.body is not None else f"(base 64) {of.body_base64}"


DELIVERIES = Table((
    Column("WOULD BE SENT TO", lambda one: one.target),
    Column("BODY", _body, long=True),
), name=lambda one: str(one.target))
