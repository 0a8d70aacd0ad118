"""What a user writes under `file:` in a channel, in a connection, and beside a `send` step's `to`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from arint.flows.step import StepError
from arint.formats import choice
from arint.resources.kinds import Duration

Folder = Annotated[str, msgspec.Meta(pattern=r"^(/|\$\{)[^\x00]*$",
                                     description="an absolute path, such as ${ARINT_DATA}/in")]
Pattern = Annotated[str, msgspec.Meta(pattern=r"^[^/\x00]+$", description="of a file's name, such as *.csv")]
Batch = Annotated[int, msgspec.Meta(ge=1, le=10_000, description="records in one message, a list if more than one")]
Verify = Annotated[bool, msgspec.Meta(description="read the whole file once before anything of it is stored")]
UNFINISHED = ("*.tmp", "*.part", "*.partial", "*.filepart", "*.crdownload", "*.swp", "*~")


class FileChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A folder (made if it is missing) whose files are taken, the oldest first. Files whose name begins with a dot are
    left alone.

    A file becomes one message, at most 64 MiB; with `records` each of its records becomes one, whatever its size. It
    is taken when it has not changed for `settle`, or with `marker` as soon as the marker is there: `orders.csv` with
    `orders.csv.ready` for `marker: .ready`.
    """

    path: Folder
    glob: Annotated[str, msgspec.Meta(pattern=r"^[^/\x00]+$", description="of a file's name, such as *.csv; several "
                                                                           "are divided by |")] = "*"
    ignore: Annotated[tuple[Pattern, ...], msgspec.Meta(description="names of unfinished files")] = UNFINISHED
    recursive: Annotated[bool, msgspec.Meta(description="the folders within, too")] = False
    settle: Annotated[Duration, msgspec.Meta(description="without a change for so long, a file is finished")] = "1s"
    marker: Annotated[str, msgspec.Meta(pattern=r"^[^/\x00*?\[]*$", description="ending of the marker's name")] = ""
    every: Annotated[Duration, msgspec.Meta(description="how often the folder is looked at")] = "500ms"
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1024, description="files at once")] = 256
    done: Annotated[str, msgspec.Meta(min_length=1, description="folder for files that were taken, within `path` "
                                                                "unless absolute; or delete")] = ".done"
    failed: Annotated[str, msgspec.Meta(min_length=1, description="folder for files that cannot be taken, each with "
                                                                  "the reason in a file .error")] = ".failed"
    content_type: Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]*$",
                                              description="of the messages; else by the file's name")] = ""
    # Evaluated when first needed: only then are the formats of all plugins known
    records: choice("format", "Records", batch=(Batch, 1), verify=(Verify, False)) | None = None  # type: ignore[valid-type]

    def __post_init__(self) -> None:
        if self.failed == "delete":
            raise ValueError("failed: a file that cannot be taken is not deleted; name a folder")
        if self.failed == self.done:
            raise ValueError("failed: another folder than `done`")


class FileConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A folder that files are put in. It is made if it is missing, and nothing is written outside of it."""

    path: Folder
    mode: Annotated[str, msgspec.Meta(pattern=r"^0?[0-7]{3}$", description="permissions of its files")] = "640"


class FileOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a `send` step says besides `to`. `name` may have values in `{{ … }}` and, for the moment at which the
    message came in (UTC), `%Y`, `%m`, `%d`, `%H`, `%M`, `%S`; with slashes it names folders within.

    A file appears whole or not at all. `number` puts `-2`, `-3` … before the ending where the name is taken; `append`
    adds to the end of the file.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    if_exists: Literal["replace", "fail", "append", "number"] = "replace"
    line_end: Annotated[bool, msgspec.Meta(description="append: each message ends with a line end")] = True

    def __post_init__(self) -> None:
        from plugins.file.names import Name

        try:
            Name(self.name)
        except StepError as error:
            raise ValueError(f"name: {error.message}") from None
