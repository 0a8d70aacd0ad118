"""The entry point: answers `--version` at once, and builds the rest only when it is needed."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; leaves with one of the exit codes of the CLI contract."""
    _open_what_is_closed()
    arguments = sys.argv[1:]
    try:
        _run(arguments)
    except KeyboardInterrupt:  # before a command has begun
        raise SystemExit(130) from None
    except OSError as error:  # --version and --help, which nothing else guards
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr.write(f"arintctl: failed: standard output: {error.strerror}\n")
        raise SystemExit(1) from None


def _run(arguments: list[str]) -> None:
    if arguments in (["--version"], ["-V"]):
        from arint.version import VERSION

        sys.stdout.write(f"arintctl {VERSION}\n")
        sys.stdout.flush()
        return
    from arintctl.app import run

    run(arguments)


def _open_what_is_closed() -> None:
    """A caller may have closed them (`>&-`): a connection that took their number would be written to as a terminal."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", closefd=False))


if __name__ == "__main__":
    main()
