"""What a user writes under `exec:` in a connection, and beside a `send` step's `to`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from arint.flows.expressions import Template
from arint.flows.step import StepError
from arint.resources.kinds import Duration, SecretReference, Size
from arint.resources.quantities import octets

LARGEST_OUTPUT = 64 * 2**20
EX_DATAERR, EX_TEMPFAIL = 65, 75
"""Of sysexits.h: the input is wrong; try again later."""

Argument = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$", max_length=10_000)]
ExitCode = Annotated[int, msgspec.Meta(ge=1, le=255)]
VariableName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class ExecConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A program: its path and its first arguments. Flows can add arguments, and run nothing else.

    It runs in an empty folder of its own, with no other environment than PATH, LANG and what `env` says.
    """

    command: Annotated[list[Argument], msgspec.Meta(min_length=1, max_length=1000)]
    env: dict[VariableName, str | SecretReference] = {}
    stdin: Annotated[Literal["body", "none"], msgspec.Meta(description="what it reads")] = "body"
    timeout: Annotated[Duration, msgspec.Meta(description="then it is killed, with all that it started")] = "30s"
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1000, description="at once, in one process")] = 4
    output: Annotated[Size, msgspec.Meta(description="what it may print")] = "1MiB"
    memory: Annotated[Size, msgspec.Meta(description="address space of each process")] = "1GiB"
    reject: Annotated[tuple[ExitCode, ...], msgspec.Meta(description="codes that mean: never this message")] = (
        EX_DATAERR,)
    unavailable: Annotated[tuple[ExitCode, ...], msgspec.Meta(description="codes that mean: not now")] = (EX_TEMPFAIL,)

    def __post_init__(self) -> None:
        if not self.command[0].startswith(("/", "${")):
            raise ValueError("command: the program's path must be absolute")
        if octets(self.output) > LARGEST_OUTPUT:
            raise ValueError("output: at most 64MiB")


class ExecOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a `send` step says besides `to`. Each of `args` is one argument, whatever is in it.

    What a message says may not begin an argument with `-`, which would make it an option, unless `dashes` allows it.
    """

    args: Annotated[list[Argument], msgspec.Meta(max_length=1000)] = []
    dashes: bool = False
    timeout: Duration | None = None

    def __post_init__(self) -> None:
        for index, text in enumerate(self.args):
            try:
                Template(text)
            except StepError as error:
                raise ValueError(f"args.{index}: {error.message}") from None
