"""Is a flow written rightly? Every mistake with its path in the list of steps; nothing is raised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from arint.errors import ArintError
from arint.flows.compile import DEEPEST, STEP_KEYS, spec_of
from arint.flows.step import Path, Step, StepError
from arint.plugins import step_types
from arint.resources.checking import Mistake, mistakes
from arint.resources.kinds import Retry
from arint.resources.problems import nearest


class StepProblem(msgspec.Struct, frozen=True):
    """One mistake: the path from the list of steps, what is wrong, and what may be meant."""

    path: Path
    message: str
    suggestion: str = ""


def check_steps(steps: Any, path: Path = ()) -> list[StepProblem]:
    """All that is wrong with these steps, files already inlined."""
    return list(_steps(steps, path, 1))


def _steps(steps: Any, path: Path, depth: int) -> Iterator[StepProblem]:
    if not isinstance(steps, list):
        yield StepProblem(path, "must be a list of steps", "each begins with - and the step's key")
    elif depth > DEEPEST:
        yield StepProblem(path, f"steps are nested more than {DEEPEST} deep", "call a flow")
    else:
        for index, written in enumerate(steps):
            yield from _step(written, (*path, index), depth)


def _step(written: Any, path: Path, depth: int) -> Iterator[StepProblem]:
    types = step_types()
    if not isinstance(written, Mapping):
        yield StepProblem(path, "a step is a mapping", f"steps: {', '.join(sorted(types))}")
        return
    keys = [key for key in written if key in types]
    kind = types[keys[0]] if keys else None
    allowed = {*STEP_KEYS, *keys, *(kind.siblings if kind else ())}
    for key in written:
        if key not in allowed:
            yield StepProblem((*path, key), f'unknown key "{key}"', nearest(str(key), {*types, *STEP_KEYS} - set(keys)))
    yield from _common(written, path)
    if kind is None:
        if not set(written) - STEP_KEYS:
            yield StepProblem(path, "the step says nothing to do", f"steps: {', '.join(sorted(types))}")
        return
    for extra in keys[1:]:
        yield StepProblem((*path, extra), f'"{kind.key}" stands here already', "each step is an entry of its own")
    yield from _spec(kind, {key: written[key] for key in written if key in allowed}, path, depth)


def _common(written: Mapping[str, Any], path: Path) -> Iterator[StepProblem]:
    for key, expected in (("name", str), ("retry", Retry)):
        if key in written:
            for found in mistakes(written[key], expected, (*path, key)):
                yield StepProblem(found.path, found.message, found.suggestion)


def _spec(kind: type[Step], written: Mapping[str, Any], path: Path, depth: int) -> Iterator[StepProblem]:
    spec = spec_of(kind, written)
    base = path if kind.siblings else (*path, kind.key)
    found = [StepProblem(one.path, one.message, _beside(one, base, kind.key) or one.suggestion)
             for one in mistakes(spec, kind.Spec, base)]
    yield from found or _build(kind, spec, base)
    for inner, steps in kind.blocks(spec):
        if isinstance(steps, list):  # what is no list was found already
            yield from _steps(steps, (*base, *inner), depth + 1)


def _beside(found: Mistake, base: Path, key: str) -> str:
    """What may be meant by a step's own key that stands one level too deep."""
    misplaced = found.on_key and found.path[:-1] == base and found.path[-1] in STEP_KEYS
    return f"it stands beside {key}, not below it" if misplaced else ""


def _build(kind: type[Step], spec: Any, base: Path) -> Iterator[StepProblem]:
    """What only building the step finds: expressions and schemas that are none."""
    try:
        kind(msgspec.convert(spec, kind.Spec))
    except StepError as error:
        for one in (error, *error.more):
            yield StepProblem((*base, *one.path), one.message, one.suggestion)
    except (msgspec.ValidationError, ArintError, ValueError) as error:
        yield StepProblem(base, str(error))
