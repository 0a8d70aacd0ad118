from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tests.tui.samples import HOSTILE, story
from tui import cells
from tui.bindings import GLOBAL, HELP, PANELS, ROWS, explained
from tui.trend import ACCEPTED, KEPT, TOTAL, Trends, spark


@pytest.mark.parametrize(("points", "width", "line"), [
    ([], 4, "    "), ([0, 0], 3, "   "), ([1], 3, "  █"), ([1, 2, 4, 8], 4, "▂▃▅█"), ([8, 0, 1], 2, " █"),
    ([0.001, 1000], 2, "▁█"), ([5] * 9, 3, "███"), ([1, 2], 0, ""), ([1], -1, "")])
def test_a_trend_as_blocks(points: list[float], width: int, line: str) -> None:
    assert spark(points, width) == line


@given(st.lists(st.floats(0, 1e12), max_size=200), st.integers(0, 100))
def test_a_trend_is_as_wide_as_asked(points: list[float], width: int) -> None:
    assert len(spark(points, width)) == width


def test_trends_keep_a_while_and_forget_who_is_gone() -> None:
    trends = Trends()
    for overview in story(KEPT + 20):
        trends.take(overview)
    assert len(trends.of(TOTAL)) == len(trends.of("price")) == KEPT
    assert max(trends.of(ACCEPTED)) > 0
    assert trends.of("nobody") == ()


@given(st.text(max_size=80), st.integers(0, 30))
def test_a_name_fits_and_steers_nothing(text: str, width: int) -> None:
    shown = cells.name(text, width)
    assert cell_len(shown.plain) <= width
    assert all(character.isprintable() or character == "…" for character in shown.plain)
    assert not shown.spans


def test_a_name_keeps_its_end() -> None:
    assert cells.name("a-service-with-a-long-name-12", 16).plain == "a-servic…name-12"
    assert cells.name("short-1", 16).plain == "short-1"


def test_hostile_text_becomes_plain_words() -> None:
    assert "\x1b" not in cells.words(HOSTILE).plain
    assert cells.words("Traceback:\n  x\nKeyError: [bold]\n").plain == "KeyError: [bold]"


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.04, "0.0"), (1.25, "1.2"), (9.96, "10"), (12345.6, "12,346"),
                                             (-1, "0")])
def test_a_rate_in_few_characters(value: float, text: str) -> None:
    assert cells.per_second(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(-5, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m"), (7199, "1h"),
                                               (86400 * 3, "3d")])
def test_a_duration_in_whole_units(seconds: float, text: str) -> None:
    assert cells.age(seconds) == text


def test_every_binding_has_an_id_of_its_own_and_is_explained() -> None:
    every = [*GLOBAL, *PANELS, *ROWS, *HELP]
    assert len({binding.id for binding in every}) == len(every)
    shown = {binding.key_display or binding.key for binding in every if binding.show}
    assert shown <= {key for key, _ in explained()}
