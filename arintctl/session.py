"""What a command has at hand: the settings of this call, the home it speaks to, and how to show a result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from arintctl.options import Format
from arintctl.output import Table, show_data, show_rows

if TYPE_CHECKING:
    from arint.home import Home
    from arint.operations.connect import Link
    from arint.operations.progress import Progress

Result = TypeVar("Result")


class Settings(msgspec.Struct, frozen=True):
    """The common options of one call."""

    output: Format | None = None
    home: Path | None = None
    context: str | None = None
    quiet: bool = False
    verbose: bool = False

    def over(self, above: Settings) -> Settings:
        """These settings, and where they say nothing, those that stood before the verb."""
        return Settings(output=self.output or above.output, home=self.home or above.home,
                        context=self.context or above.context, quiet=self.quiet or above.quiet,
                        verbose=self.verbose or above.verbose)


def silence_libraries() -> None:
    """What they write on stderr, nobody who typed a command can act on; what matters is raised as an error of ours."""
    import logging
    import os

    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns when a server closes its TLS before we do
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it tells each failed handshake


class Session:
    """One call of one command."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @property
    def form(self) -> Format:
        """How to print."""
        return self.settings.output or "table"

    @property
    def is_data(self) -> bool:
        """Whether a program reads what is printed."""
        return self.form in ("json", "yaml")

    def home(self) -> Home:
        """The home that this call speaks to."""
        from arint.home import Home, default_home
        from arintctl.contexts import home_of

        return Home(home_of(self.settings.home, self.settings.context) or default_home())

    def link(self) -> Link:
        """To that home; or over the bus, where the context leads to a cluster elsewhere."""
        from arintctl.contexts import access_of

        access = access_of(self.settings.home, self.settings.context)
        if access is not None:
            from arint.administration.remote import RemoteLink

            return RemoteLink(access)
        from arint.operations.connect import Link

        return Link(self.home())

    def run(self, operation: Callable[[Link, Progress], Awaitable[Result]]) -> Result:
        """Run an operation to its end, with its progress on stderr."""
        import asyncio

        from arintctl.progress import shown

        async def whole(progress: Progress) -> Result:
            async with self.link() as link:
                return await operation(link, progress)

        silence_libraries()
        with shown(quiet=self.settings.quiet) as progress:
            return asyncio.run(whole(progress))

    def rows(self, rows: Sequence[Any], table: Table, *, empty: str = "") -> None:
        """Print a list; where there is nothing, `empty` (or the table's word) is said on stderr."""
        show_rows(rows, table, self.form, empty=empty)

    def data(self, data: Any) -> None:
        """Print one result for a program: as JSON unless YAML was asked for."""
        show_data(data, self.form)
