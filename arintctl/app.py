"""The command tree. Modules of commands are imported when one of their commands is called."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from arint.version import VERSION
from arintctl.catalogue import CATALOGUE
from arintctl.options import ContextName, HomePath, OutputFormat, Quiet, Verbose
from arintctl.session import Settings

DESCRIPTION = "ARINT: integrate systems that were never made to work together, from the terminal."
EPILOG = """\b
Examples:
  arintctl up
  arintctl apply examples/orders
  arintctl why 01JD0W7Y3F0S8Q6Z4K2M5N7P9R"""


class LazyGroup(TyperGroup):
    """A group whose commands are known by the catalogue, and imported one by one."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All words, in the order of the catalogue."""
        return list(CATALOGUE)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the module of one word."""
        entry = CATALOGUE.get(cmd_name)
        if entry is None:
            return None
        group = get_group(import_module(f"arintctl.commands.{entry.module}").app)
        if entry.is_noun:
            group.name, group.help = cmd_name, entry.summary
            return group
        return group.get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names; for one that is not there a near one is named, without imports."""
        word = args[0]
        near = get_close_matches(word, CATALOGUE) if word not in CATALOGUE and not word.startswith("-") else []
        if near:
            ctx.fail(f"No such command {word!r}. Did you mean {', '.join(map(repr, near))}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list in `--help`, from the catalogue: nothing is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(word, entry.summary) for word, entry in CATALOGUE.items()])


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"arintctl {VERSION}")
        raise typer.Exit


def build() -> Any:
    """The whole command tree."""
    app = typer.Typer(cls=LazyGroup, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
                      context_settings={"help_option_names": ["-h", "--help"]}, help=DESCRIPTION, epilog=EPILOG)

    @app.callback()
    def root(ctx: typer.Context, *, output: OutputFormat = None, home: HomePath = None, context: ContextName = None,
             quiet: Quiet = False, verbose: Verbose = False,
             version: Annotated[bool, typer.Option("--version", "-V", is_eager=True, callback=_show_version,
                                                   help="Print the version.")] = False) -> None:
        ctx.obj = Settings(output=output, home=home, context=context, quiet=quiet, verbose=verbose)

    return get_command(app)


def run(arguments: list[str]) -> None:
    """Run one command; leaves the process with its exit code."""
    build()(args=arguments, prog_name="arintctl")
