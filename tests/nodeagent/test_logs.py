from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from arint.engines.logs import rotate
from nodeagent import logs


def last(file: Path, count: int) -> list[str]:
    return rest(file, logs.last(file, count))[0]


def rest(file: Path, place: int, *, whole: bool = False) -> tuple[list[str], int]:
    found: list[str] = []
    while True:
        lines, place, is_all = logs.after(file, place, whole=whole)
        found += lines
        if is_all:
            return found, place


def test_the_last_lines_also_from_the_file_rotated_before(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    assert last(file, 5) == []
    file.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert last(file, 2) == ["line 49998", "line 49999"]
    rotate(file)
    with file.open("a") as more:
        more.write("new\nnot yet ended")
    assert last(file, 3) == ["line 49999", "new", "not yet ended"]
    assert last(file, 0) == []


@given(st.lists(st.text("ab\n", max_size=5), max_size=20).map("".join), st.integers(0, 10))
def test_as_if_it_had_been_read_whole(text: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.log"
        file.write_text(text)
        lines = text.removesuffix("\n").split("\n") if text else []
        assert last(file, count) == (lines[-count:] if count else [])


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(b"x" * 50_000_000)
    lines, _, _ = logs.after(file, logs.last(file, 10), whole=True)
    assert sum(map(len, lines)) == logs.PIECE
    assert sum(map(len, last(file, 10))) == 10 * logs.PIECE


def test_following_goes_on_over_a_rotation(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_text("old\nsecond\n")
    found, place = rest(file, logs.last(file, 1), whole=True)
    assert found == ["second"]
    with file.open("a") as more:
        more.write("whole\nhalf")
        more.flush()
        found, place = rest(file, place, whole=True)
        assert found == ["whole"]
        more.write(" and half\nbefore it is rotated\n")
    rotate(file)
    with file.open("a") as more:
        more.write("after\n")
    found, place = rest(file, place, whole=True)
    assert found == ["half and half", "before it is rotated", "after"]
    rotate(file)
    rotate(file)
    with file.open("a") as more:
        more.write("now\n")
    assert rest(file, place, whole=True)[0] == ["now"]
