"""Homes and ports that are not as they should be: one plain sentence, and what runs goes on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.system import System


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[System]:
    """A folder for a home, with nothing up."""
    with System(tmp_path, up=False) as system:
        yield system


def test_two_ups_at_once_are_one_cluster(apart: System) -> None:
    both = [apart.begin("up", "--http-port", str(apart.port), "-o", "json") for _ in range(2)]
    told = [process.communicate(timeout=100.0) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    results = [json.loads(out) for out, _ in told]
    assert sorted(bool(result.get("already_running")) for result in results) == [False, True]
    assert len({result["status"]["pid"] for result in results}) == 1


def test_a_port_that_is_taken_is_refused_by_name_and_nothing_is_left(apart: System) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} is taken" in apart.refused("up", "--http-port", str(port), code=4)
    assert not (apart.home / "node.json").exists()
    assert not list(apart.home.rglob("*.json"))


def test_a_port_taken_while_down_is_moved_and_told(apart: System) -> None:
    apart.ctl("up", "--http-port", str(apart.port))
    apart.ctl("down")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", apart.port))
        taken.listen()
        result = apart.json("up")
    assert any(str(apart.port) in moved for moved in result["moved"])


@pytest.mark.parametrize(("content", "words"), [
    ('{"format": 99, "version": "9.0.0"}', "format 99"),
    ('{"format": 1, "version": 7}', "cannot be read"),
    ("{", "cannot be read"),
    ("", "cannot be read"),
], ids=["newer", "wrong", "half", "empty"])
@pytest.mark.parametrize("words_of_command", [("up",), ("status",), ("down",), ("apply", "x.yaml")])
def test_a_home_of_another_format_is_left_alone(apart: System, content: str, words: str,
                                                words_of_command: tuple[str, ...]) -> None:
    apart.write({"home/node.json": content, "x.yaml": "kind: Flow\nname: x\nsteps:\n  - log: '\"x\"'\n"})
    try:
        said = apart.refused(*words_of_command, code=8)
        assert words in said
        assert "node.json" in said
        assert (apart.home / "node.json").read_text() == content
    finally:
        import shutil

        shutil.rmtree(apart.home)


def test_a_home_of_an_older_release_with_the_same_format_comes_up(apart: System) -> None:
    apart.ctl("up", "--http-port", str(apart.port))
    apart.ctl("down")
    file = apart.home / "node.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": "0.0.1"}))
    assert apart.json("up")["status"]["ready"]


def test_a_folder_with_somebodys_documents_is_no_home(apart: System) -> None:
    apart.write({"home/thesis.txt": "all my work"})
    try:
        assert "thesis.txt" in apart.refused("up", code=8)
        apart.refused("down", "--purge", "--yes")
        assert (apart.home / "thesis.txt").read_text() == "all my work"
    finally:
        import shutil

        shutil.rmtree(apart.home)
