"""How a function becomes a command: with the common options, an example in its help, and the exit codes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import typer

from arintctl import options
from arintctl.failures import guarded
from arintctl.session import Session, Settings

Function = TypeVar("Function", bound=Callable[..., None])

_HELP = {"help_option_names": ["-h", "--help"]}
_COMMON: dict[str, tuple[Any, Any]] = {
    "output": (options.OutputFormat, None),
    "home": (options.HomePath, None),
    "context": (options.ContextName, None),
    "quiet": (options.Quiet, False),
    "verbose": (options.Verbose, False),
}


def commands() -> typer.Typer:
    """The Typer application of one module of commands."""
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True,
                      context_settings=_HELP)
    app.callback()(_nothing)  # else Typer makes an application with a single verb into that verb
    return app


def _nothing() -> None:
    pass


def verb(app: typer.Typer, name: str, *, example: str) -> Callable[[Function], Function]:
    """Register a function as the command `name`; its first parameter is the Session, its docstring the help."""

    def register(function: Function) -> Function:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        def run(ctx: typer.Context, **given: Any) -> None:
            mine = Settings(**{word: given.pop(word) for word in _COMMON})
            above = ctx.find_root().obj
            session = Session(mine.over(above) if isinstance(above, Settings) else mine)
            raise typer.Exit(guarded(session, partial(function, session, **given)))

        _dress(run, function, own)
        app.command(name, context_settings=_HELP, epilog=f"\b\nExample:\n  {example}")(run)
        return function

    return register


def _dress(run: Callable[..., None], function: Callable[..., None], own: list[inspect.Parameter]) -> None:
    """Give `run` the name, the help and the parameters that Typer shall see."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    common = [inspect.Parameter(word, keyword, annotation=kind, default=default)
              for word, (kind, default) in _COMMON.items()]
    parameters = [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
                  *(parameter.replace(kind=keyword) for parameter in own), *common]
    run.__name__, run.__doc__, run.__module__ = function.__name__, function.__doc__, function.__module__
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
