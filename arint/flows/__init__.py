"""Integration patterns: typed steps, compiled to stages, run with no server. Nothing here does I/O."""

from __future__ import annotations

from arint.flows.check import StepProblem, check_steps
from arint.flows.compile import Program, Stage, compile_flow, implicit_program
from arint.flows.run import Effects, Output, Reply, StageResult, on_failure, run_stage
from arint.flows.state import State
from arint.flows.step import EffectStep, PureStep, Step, StepError

__all__ = [
    "EffectStep", "Effects", "Output", "Program", "PureStep", "Reply", "Stage", "StageResult", "State", "Step",
    "StepError", "StepProblem", "check_steps", "compile_flow", "implicit_program", "on_failure", "run_stage",
]
