"""What is printed fits the terminal it is printed on, and loses nothing."""

from __future__ import annotations

import pytest

from arint.actions import Action
from arintctl import layout
from arintctl.output import Column, Table, aligned, complete
from arintctl.text import Moment, clock_today, last_line

ERROR = "the body does not fit the schema: lines.0.qty: the value is not of type integer, and more is wrong with it"
MESSAGES = Table((
    Column("MESSAGE", lambda row: row[0]),
    Column("STATE", lambda row: row[1]),
    Column("STAGE", lambda row: row[2], roomy=True),
    Column("ERROR", lambda row: row[3], long=True),
), name=lambda row: str(row[0]))
ROWS = [("01M8440FRHCP4E4TVEHRBZR87P", "dead", "orders.4-send-partner", ERROR),
        ("01M8440FR4W0AVGXSYEN6WMNQA", "done", "orders.5t0-callback", "")]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132, 200])
def test_a_table_fits_and_no_word_of_an_error_is_lost(width: int) -> None:
    text = aligned(ROWS, MESSAGES, wide=False, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert " ".join(ERROR.split()) in " ".join(text.split()) or width >= 100
    assert "01M8440FR4W0AVGXSYEN6WMNQA   done" in text


def test_where_there_is_room_or_a_program_reads_every_row_is_one_line() -> None:
    for text in (aligned(ROWS, MESSAGES, wide=False, width=300), aligned(ROWS, MESSAGES, wide=False),
                 aligned(ROWS, MESSAGES, wide=True, width=80)):
        assert len(text.splitlines()) == 3
        assert ERROR in text


def test_a_second_long_text_stands_beneath_the_first() -> None:
    table = Table((Column("CHECK", lambda row: row[0]), Column("FOUND", lambda row: row[1], long=True),
                   Column("WHAT TO DO", lambda row: row[2], long=True)), name=str)
    text = aligned([("disk", "1 GiB free " * 5, "make room"), ("agent", "runs", "")], table, wide=False, width=60)
    assert text.splitlines()[0] == "CHECK   FOUND"
    assert "        → make room" in text.splitlines()
    assert text.splitlines()[-1] == "agent   runs"


def test_a_line_of_a_tree_is_wrapped_beneath_itself() -> None:
    told = layout.wrapped("done " * 10, 40, "│  ", "│    ").splitlines()
    assert len(told) > 1
    assert all(len(line) <= 40 for line in told)
    assert all(line.startswith("│    done") for line in told[1:])
    assert layout.wrapped("done " * 10, None, "│  ") == "│  " + "done " * 10


def test_json_holds_fields_that_stand_at_their_default() -> None:
    action = Action(root="R", message="R", flow="f", stage="start", attempt=1, at=1.0, outcome="done")
    found = complete([{"action": action}])[0]["action"]
    assert set(found) == set(Action.__struct_fields__)
    assert (found["run"], found["to"], found["error"]) == (0, [], "")


def test_moments_of_today_are_brief_on_a_terminal_and_whole_elsewhere() -> None:
    table = Table((Column("WHEN", Moment),), name=str)
    assert clock_today(1.25) == "1970-01-01 00:00Z"
    assert aligned([1.25], table, wide=False).splitlines()[1] == "1970-01-01T00:00:01.250Z"
    assert aligned([1.25], table, wide=False, width=80).splitlines()[1] == "1970-01-01 00:00Z"


def test_the_last_line_of_a_traceback_says_most() -> None:
    assert last_line("Traceback:\n  File x\nKeyError: 'n'\n\n") == "KeyError: 'n'"
    assert last_line("") == ""
