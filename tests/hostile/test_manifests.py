"""Manifests that cannot be: all that is wrong is told at once with its place, and nothing is applied."""

from __future__ import annotations

import pytest

from tests.hostile.system import System

GOOD = "kind: Flow\nname: good\nsteps:\n  - log: '\"x\"'\n"
BOMB = "a: &a [x, x]\n" + "".join(f"{after}: &{after} [*{before}, *{before}, *{before}]\n" for before, after in
                                  zip("abcdefghijklmnopqrstuv", "bcdefghijklmnopqrstuvw", strict=True))
BROKEN = {
    "colon": ("kind: Flow\nname: x: y\n", "{file}:2"),
    "tab": ("kind: Flow\n\tname: x\n", "{file}:2"),
    "unclosed": ("kind: Flow\nname: x\nsteps: [{log: '1'\n", "{file}:"),
    "not utf-8": (b"kind: Flow\nname: \xff\xfe\n", "{file}"),
    "control characters": (b"kind: Flow\nname: a\x00b\n", "{file}"),
    "a list": ("- kind: Flow\n", "{file}:1"),
    "a word": ("hello\n", "{file}:1"),
    "bomb": (BOMB, "{file}"),
    "deep": ("kind: Flow\nname: x\nsteps: " + "[" * 100_000 + "]" * 100_000 + "\n", "{file}"),
    "python object": ("kind: Flow\nname: !!python/object/apply:os.system ['true']\n", "{file}:2"),
    "recursive": ("kind: Flow\nname: x\nsteps: &a [*a]\n", "{file}:3"),
    "no kind": ("name: x\n", "{file}:1"),
    "another kind": ("kind: Flo\nname: x\n", "Flow"),
    "twice": (GOOD + "---\n" + GOOD, "{file}:"),
    "key twice": ("kind: Flow\nname: x\nname: y\nsteps:\n  - log: '1'\n", "{file}:3"),
}
CYCLES = {
    "itself": "kind: Flow\nname: a\nsteps:\n  - call: flow/a\n",
    "call": "kind: Flow\nname: a\nsteps:\n  - call: flow/b\n---\nkind: Flow\nname: b\nsteps:\n  - call: flow/a\n",
    "send": "kind: Flow\nname: a\nsteps:\n  - send: {to: flow/b}\n---\n"
            "kind: Flow\nname: b\nsteps:\n  - when: {if: 'true', then: [{send: {to: flow/a}}]}\n",
}


@pytest.fixture(scope="module")
def told(system: System) -> str:
    """What is said of all of them, applied at once beside a good one."""
    files = {f"broken/{_file(name)}": text for name, (text, _) in BROKEN.items()}
    system.write({**files, "broken/good.yaml": GOOD.replace("good", "other")})
    return system.refused("apply", "broken", code=8)


def _file(name: str) -> str:
    return name.replace(" ", "-") + ".yaml"


@pytest.mark.parametrize("name", BROKEN)
def test_broken_yaml_is_refused_with_its_place(told: str, name: str) -> None:
    place = BROKEN[name][1].format(file=_file(name))
    assert place in told, told
    assert max(len(line) for line in told.splitlines()) < 500


def test_nothing_of_it_was_applied(system: System, told: str) -> None:
    assert system.ctl("get", "-o", "name") == ""


@pytest.mark.parametrize("name", CYCLES)
def test_a_cycle_of_flows_is_refused_and_named(system: System, name: str) -> None:
    system.write({"cycle.yaml": CYCLES[name]})
    said = system.refused("apply", "cycle.yaml", code=8)
    assert "cycle.yaml:" in said
    assert "cycle: a -> " in said
    assert system.ctl("get", "-o", "name") == ""


def test_a_cycle_that_closes_with_what_is_applied_is_refused(system: System) -> None:
    system.write({"b.yaml": "kind: Flow\nname: b\nsteps:\n  - log: '\"b\"'\n",
                  "a.yaml": "kind: Flow\nname: a\nsteps:\n  - call: flow/b\n",
                  "c.yaml": "kind: Flow\nname: b\nsteps:\n  - call: flow/a\n"})
    system.ctl("apply", "b.yaml", "a.yaml")
    said = system.refused("apply", "c.yaml", code=8)
    assert "cycle" in said
    system.ctl("delete", "flow/a", "flow/b")


def test_a_file_that_is_not_there_or_may_not_be_read(system: System) -> None:
    assert "nowhere.yaml" in system.refused("apply", "nowhere.yaml")
    system.write({"folder/readme.txt": "no manifest"})
    assert "folder" in system.refused("apply", "folder")
