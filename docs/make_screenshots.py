"""Draws the pictures of the documentation, with fixed data: docs/images/console.svg. Run it from the repository."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "images" / "console.svg"
SIZE = (120, 36)


async def draw(size: tuple[int, int] = SIZE) -> str:
    """The overview as an SVG picture."""
    sys.path.insert(0, str(ROOT))
    from tests.tui.samples import FakeSource, story
    from tui.app import Console

    told = tuple(story())
    console = Console(FakeSource(*told), ticks=lambda: 0.0)
    async with console.run_test(size=size) as pilot:
        await pilot.pause()
        return console.export_screenshot(title="arintctl console")


def main() -> None:
    """Write the file."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(asyncio.run(draw()), encoding="utf-8")


if __name__ == "__main__":
    main()
