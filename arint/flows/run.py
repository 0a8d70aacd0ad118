"""Runs one stage of a program: its effect, then the pure steps after it; gives what is to be stored next."""

from __future__ import annotations

import msgspec

from arint.errors import ArintError
from arint.flows.compile import Instruction, Program
from arint.flows.state import Effects, Fork, Outcome, Output, Reply, State, Trace
from arint.message import Failure, Message

__all__ = ["Effects", "Fork", "Output", "Reply", "StageResult", "Trace", "failed_step", "on_failure", "run_stage"]

_STEP = "arint_step"


class StageResult(msgspec.Struct, frozen=True):
    """What a stage gave. `ended`: the message has come to the end of the flow; `message` is then its last form.

    `fork`: more to store, which may be much. `outcome` is what the action log says of the stage.
    """

    outputs: tuple[Output, ...]
    ended: bool
    message: Message
    fork: Fork | None = None
    outcome: Outcome = "done"


async def run_stage(program: Program, stage: str, message: Message, effects: Effects, *,
                    trace: Trace | None = None) -> StageResult:
    """Run one stage on its input. Waits only for its effect.

    Raises what the effect raises; RejectedError where a pure step cannot deal with the message.
    """
    at = program.stage(stage).at
    state = State(message, program.flow, stage, effects, trace)
    first = program.instructions[at]
    if first.kind == "effect":
        await first.step.perform(state, f"{message.id}-{message.run}-{program.flow}-{stage}")
        if trace is not None:
            trace(first.path, first.key, first.name, state)
        if state.fork is not None:
            return StageResult(tuple(state.outputs), state.fork.count == 0, state.message(), state.fork)
        at += 1
    end = _advance(program.instructions, at, state)
    result = state.message()
    if end.kind == "end":
        return StageResult(tuple(state.outputs), True, result, None, state.outcome)
    return StageResult((*state.outputs, Output(program.flow, end.token, result)), False, result, None, state.outcome)


def _advance(code: tuple[Instruction, ...], at: int, state: State) -> Instruction:
    """Run pure instructions up to the next effect or the end, which is returned."""
    trace = state.trace
    while True:
        instruction = code[at]
        kind = instruction.kind
        if kind in ("effect", "end"):
            return instruction
        try:
            if kind == "pure":
                instruction.step.apply(state)
                at += 1
                if trace is not None:
                    trace(instruction.path, instruction.key, instruction.name, state)
                continue
            target = instruction.to
            assert target is not None
            if instruction.condition is None:
                at = target.at
            else:
                at = at + 1 if instruction.condition.holds(state) else target.at
        except Exception as error:
            at = _handled(instruction, error, state)


def _handled(instruction: Instruction, error: Exception, state: State) -> int:
    """Where to go on: the `catch` around. Raises the error again if there is none."""
    where = instruction.where
    if isinstance(error, ArintError) and error.where is None:
        error.where = where
    if instruction.handler is None:
        setattr(error, _STEP, where)
        raise error
    kind = error.title if isinstance(error, ArintError) else type(error).__name__
    what = error.what if isinstance(error, ArintError) else str(error)
    state.failed(Failure(kind=kind, message=what, where=where))
    return instruction.handler.at


def failed_step(error: BaseException) -> str:
    """Where the pure step stands that raised this error with no `catch` around it; empty for the error of an effect.

    It goes into `Failure.where`, so that `on_failure` does not take a stage's `catch` for a step after it.
    """
    return getattr(error, _STEP, "")


def on_failure(program: Program, stage: str, message: Message, failure: Failure) -> Output | None:
    """The input of the `catch` around a stage that has failed for good; None if there is none."""
    found = program.stages.get(stage)
    if found is None or not found.handler or failure.where not in ("", stage, found.where):
        return None
    return Output(program.flow, found.handler, msgspec.structs.replace(message, failure=failure, attempt=1))
