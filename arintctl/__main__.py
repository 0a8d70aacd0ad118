"""The entry point: answers `--version` at once, and builds the rest only when it is needed."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; leaves with one of the exit codes of the CLI contract."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        from arint.version import VERSION

        sys.stdout.write(f"arintctl {VERSION}\n")
        return
    from arintctl.app import run

    run(arguments)


if __name__ == "__main__":
    main()
