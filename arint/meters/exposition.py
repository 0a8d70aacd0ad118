"""Prometheus's text format, version 0.0.4: what a scrape is answered. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from arint.meters.snapshot import Point, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})


def text(found: Iterable[Snapshot]) -> str:
    """All families, each once: what several processes counted under one name stands together."""
    together: dict[str, list[Snapshot]] = {}
    for one in found:
        if one.points:
            together.setdefault(one.name, []).append(one)
    return "".join(f"{line}\n" for name in sorted(together) for line in _family(together[name]))


def _family(parts: Sequence[Snapshot]) -> Iterator[str]:
    first = parts[0]
    yield f"# HELP {first.name} {first.help.translate(_ESCAPES)}"
    yield f"# TYPE {first.name} {first.kind}"
    for part in parts:
        for point in part.points:
            if part.kind == "histogram":
                yield from _histogram(part, point)
            else:
                yield f"{part.name}{_labels(part.labels, point.labels)} {_number(point.value)}"


def _histogram(family: Snapshot, point: Point) -> Iterator[str]:
    names, below = (*family.labels, "le"), list(accumulate(point.buckets))
    for bound, count in zip([*map(_number, family.bounds), "+Inf"], below, strict=True):
        yield f"{family.name}_bucket{_labels(names, (*point.labels, bound))} {count}"
    labels = _labels(family.labels, point.labels)
    yield f"{family.name}_sum{labels} {_number(point.value)}"
    yield f"{family.name}_count{labels} {below[-1]}"


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = (f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True))
    return f"{{{','.join(pairs)}}}" if names else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)
