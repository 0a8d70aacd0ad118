from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec
import pytest
from textual.pilot import Pilot

from arint.operations.overview import Overview, overview_of
from arint.operations.standing import standing_of
from tests.patience import PATIENCE
from tests.tui.samples import HOSTILE, NOON, FakeSource, hostile, status, story
from tui.app import Console
from tui.widgets.panel import Panel
from tui.widgets.table import LiveTable


@pytest.fixture
def told() -> tuple[Overview, ...]:
    return tuple(story())


def screen_text(console: Console) -> str:
    """What stands on the terminal."""
    return "\n".join("".join(segment.text for segment in strip) for strip in console.screen._compositor.render_strips())


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, screen_text(pilot.app)  # type: ignore[arg-type]
        await pilot.pause()
        await asyncio.sleep(0.01)


async def until_shown(pilot: Pilot[None], *words: str) -> str:
    await until(pilot, lambda: all(word in screen_text(pilot.app) for word in words))  # type: ignore[arg-type]
    return screen_text(pilot.app)  # type: ignore[arg-type]


def panel(console: Console, name: str) -> list[list[str]]:
    return console._overview.query_one(f"#{name}", Panel).text()


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_everything_stands_on_one_screen(told: tuple[Overview, ...], size: tuple[int, int]) -> None:
    console = Console(FakeSource(*told), ticks=lambda: 0.0)
    async with console.run_test(size=size) as pilot:
        text = await until_shown(pilot, "ARWADM console", "ARCLST cluster local", "change set 12", "live",
                                 "messages/s", "accepted/s", "dead letters 2", "open circuits 1", "ready 5/6",
                                 "ARSRV nodes", "box-1", "etcd", "nats", "ARLDB services", "price", "ARLDB instances",
                                 "approve-1", "open circuits and recent failures", "partner", "away",
                                 "q Quit", "? Help", "Tab Panel", "↑↓ Row", "r Reconnect")
        lines = text.split("\n")
        assert len(lines) == size[1]
        assert "█" in lines[1]
        assert "No data" not in text
        by_name = {row[0]: row for row in panel(console, "services")}
        assert by_name["price"][1:4] == ["ready", "2/2", "830"]
        assert by_name["report"][1:3] == ["failed", "0/1"]
        assert by_name["system/http"][3] == "831"
        assert [row[0] for row in panel(console, "instances")] == [
            "approve-1", "price-1", "price-2", "report-1", "http-1", "runner-1"]
        assert panel(console, "trouble")[0][1:3] == ["partner", "open circuit"]


async def test_rows_are_changed_in_place_and_the_cursor_stays_on_its_row(told: tuple[Overview, ...]) -> None:
    source = FakeSource(told[-2])
    console = Console(source, ticks=lambda: 0.0)
    async with console.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(panel(console, "instances")) == 6)
        table = console._overview.query_one("#instances LiveTable", LiveTable)
        table.focus()
        table.move_cursor(row=2)
        rows = dict(table.rows)
        more = msgspec.structs.replace(told[-1].instances[0], instance="another-1")
        fewer = [item for item in told[-1].instances if item.instance != "price-1"]
        source.tell(msgspec.structs.replace(told[-1], instances=(more, *fewer)))
        await until(pilot, lambda: panel(console, "instances")[0][0] == "another-1")
        assert [row[0] for row in panel(console, "instances")] == [
            "another-1", "approve-1", "price-2", "report-1", "http-1", "runner-1"]
        assert all(table.rows[key] is row for key, row in rows.items() if key in table.rows)
        assert len(table.rows) == 6
        assert table.get_row_at(table.cursor_row)[0].plain == "price-2"
        source.tell(msgspec.structs.replace(told[-1], instances=()))
        await until(pilot, lambda: not panel(console, "instances"))
        await until_shown(pilot, "ARLDB instances: none")
        source.tell(told[-1])
        await until(pilot, lambda: len(panel(console, "instances")) == 6)


async def test_what_is_named_twice_is_shown_twice(told: tuple[Overview, ...]) -> None:
    twice = msgspec.structs.replace(told[-1], instances=told[-1].instances * 2)
    console = Console(FakeSource(twice, told[-1], twice), ticks=lambda: 0.0)
    async with console.run_test() as pilot:
        await until(pilot, lambda: len(panel(console, "instances")) == 12)


async def test_it_says_when_the_data_is_stale_and_goes_on_when_the_agent_returns(told: tuple[Overview, ...]) -> None:
    now = [0.0]
    source = FakeSource(*told[:-1])
    console = Console(source, redial=0.02, ticks=lambda: now[0])
    async with console.run_test() as pilot:
        await until_shown(pilot, "live", "price")
        now[0] = 7.0
        source.hang_up("no agent answers")
        await until_shown(pilot, "STALE 7s", "The data is stale: no agent answers (run: arintctl up); trying again",
                          "price")
        calls = source.calls
        await until(pilot, lambda: source.calls > calls + 2)
        now[0] = 90.0
        await until_shown(pilot, "STALE 1m")
        source.away = ""
        source.tell(told[-1])
        text = await until_shown(pilot, " live")
        assert "STALE" not in text
        assert "trying again" not in text


async def test_a_silent_agent_is_seen_though_the_connection_stands(told: tuple[Overview, ...]) -> None:
    now = [0.0]
    source = FakeSource(told[-1])
    console = Console(source, redial=0.02, silence=2.0, ticks=lambda: now[0])
    async with console.run_test() as pilot:
        await until_shown(pilot, "said nothing for")
        source.tell(told[-1])
        await until_shown(pilot, " live")
    assert source.followers == 0


async def test_without_an_agent_it_waits_and_says_so(told: tuple[Overview, ...]) -> None:
    source = FakeSource()
    source.away = "no agent answers"
    console = Console(source, redial=30.0)
    async with console.run_test() as pilot:
        await until_shown(pilot, "no data yet", "No data yet: no agent answers", "trying again")
        source.away = ""
        source.tell(told[-1])
        await pilot.press("r")  # the next attempt would be in half a minute
        await until_shown(pilot, "live", "price")


async def test_it_quits_on_q_and_leaves_nothing(told: tuple[Overview, ...]) -> None:
    before = asyncio.all_tasks()
    for keys in (["q"], ["ctrl+c"], ["question_mark", "q"], ["question_mark", "ctrl+c"]):
        source = FakeSource(*told)
        console = Console(source)
        async with console.run_test() as pilot:
            await until_shown(pilot, "price")
            assert source.followers == 1
            await pilot.press(*keys)
        assert not console.is_running
        assert source.followers == 0
    assert asyncio.all_tasks() == before


async def test_help_shows_every_key_and_goes_away(told: tuple[Overview, ...]) -> None:
    source = FakeSource(*told[:-1])
    console = Console(source, ticks=lambda: 0.0)
    async with console.run_test(size=(80, 40)) as pilot:
        await until_shown(pilot, "price")
        for close in ("question_mark", "escape"):
            await pilot.press("question_mark")
            await until_shown(pilot, "Go to the next panel", "Ask the agent anew", "dead letters", "ARLDB availability")
            await pilot.press(close)
            await until(pilot, lambda: "Go to the next panel" not in screen_text(console))
        source.tell(told[-1])
        await until(pilot, lambda: panel(console, "services")[1][3] == "830")


async def test_keys_move_between_panels_and_rows(told: tuple[Overview, ...]) -> None:
    console = Console(FakeSource(*told), ticks=lambda: 0.0)
    async with console.run_test() as pilot:
        await until_shown(pilot, "price")

        def focused() -> str | None:
            return console.focused.parent.id if console.focused and console.focused.parent else None  # type: ignore[attr-defined,union-attr]

        assert focused() == "services"
        await pilot.press("down", "j", "up")
        table = console.focused
        assert isinstance(table, LiveTable)
        assert table.cursor_row == 1
        visited = []
        for _ in range(4):
            await pilot.press("tab")
            visited.append(focused())
        assert visited == ["instances", "trouble", "nodes", "services"]
        await pilot.press("shift+tab")
        assert focused() == "nodes"


@pytest.mark.parametrize("size", [(20, 5), (1, 1), (3, 40), (200, 2), (40, 9)])
async def test_a_terminal_made_tiny_and_large_again(told: tuple[Overview, ...], size: tuple[int, int]) -> None:
    source = FakeSource(*told[:-1])
    console = Console(source, ticks=lambda: 0.0)
    async with console.run_test(size=(120, 40)) as pilot:
        await until_shown(pilot, "price")
        await pilot.resize_terminal(*size)
        source.tell(told[-1])
        await until(pilot, lambda: panel(console, "services")[1][3] == "830")
        lines = screen_text(console).split("\n")
        assert len(lines) == size[1]
        if size == (20, 5):
            assert "live" in lines[0]
        await pilot.press("question_mark", "question_mark")
        await pilot.resize_terminal(80, 24)
        await until_shown(pilot, "ARCLST cluster local", "messages/s", "q Quit", "approve-1")


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
async def test_names_from_outside_steer_nothing(size: tuple[int, int]) -> None:
    console = Console(FakeSource(hostile(), hostile()), ticks=lambda: 0.0)
    async with console.run_test(size=size) as pilot:
        await until_shown(pilot, "[red]")
        for name in ("nodes", "services", "instances", "trouble"):
            for row in panel(console, name):
                assert all(cell.isprintable() for cell in row), row
        assert panel(console, "trouble")[0][1].startswith("[red]")
        assert all(line.isprintable() for line in screen_text(console).split("\n"))
        console._overview.say_stale(HOSTILE, 9.0)
        text = await until_shown(pilot, "STALE 9s", "trying again" if size[0] > 80 else "The data is stale")
        assert all(line.isprintable() for line in text.split("\n"))
        assert "[red]evil[/red]\\x1b]0;owned" in text


async def test_no_color_is_obeyed_and_states_are_words(told: tuple[Overview, ...],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(FakeSource(*told), ticks=lambda: 0.0)
    async with console.run_test() as pilot:
        await until_shown(pilot, "failed", "ready", "live")
        colours = {colour.name for strip in console.screen._compositor.render_strips() for segment in
                   strip.apply_filter(console._filters[-1], console.screen.background_colors[1])
                   if segment.style for colour in (segment.style.color, segment.style.bgcolor) if colour}
        assert colours <= {"default"}


async def test_a_thousand_instances_are_followed_with_little_work() -> None:
    def seen(second: int, before: Overview | None) -> Overview:
        template = status(second).instances[0]
        many = tuple(msgspec.structs.replace(template, instance=f"price-{number}", service=f"s{number % 50}",
                                             processed=template.processed + number * second) for number in range(1000))
        told = standing_of(msgspec.structs.replace(status(second), instances=many))
        return overview_of(told, before, at=NOON + second, elapsed=1.0)

    first = seen(1, None)
    second = seen(2, first)
    source = FakeSource(first)
    console = Console(source)
    async with console.run_test() as pilot:
        await until(pilot, lambda: len(panel(console, "instances")) == 1000)
        begun = time.process_time()
        source.tell(second)
        await until(pilot, lambda: panel(console, "instances")[0][3] != "-")
        assert time.process_time() - begun < 1.0
