"""Three machines to play with: `make lab`, until Ctrl-C or `make lab-down`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from contextlib import suppress
from pathlib import Path

from arint.errors import ArintError
from tests.lab.lab import FOLDER, Lab
from tests.lab.machine import PASSWORD

_MARK = "by-hand"
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make lab")
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--systemd", action="store_true")
    parser.add_argument("--down", action="store_true")
    words = parser.parse_args()
    if words.down:
        return down()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        with Lab(words.count, password_login=True, systemd=words.systemd) as machines:
            (machines.folder / _MARK).write_text(f"{os.getpid()}\n")
            for machine in machines:
                sys.stdout.write(f"{machine.name} {machine.address}\n  {shlex.join(machine.ssh_words())}\n")
            sys.stdout.write(f"The key of root: {machines.folder}/key\n"
                             f"The password of ops (who may sudo) and plain (who may not): {PASSWORD}\n"
                             "They stay until Ctrl-C, or make lab-down.\n")
            sys.stdout.flush()
            signal.sigwait(_SIGNALS)
    except ArintError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def down() -> int:
    """Tell the labs that were started by hand to end."""
    for mark in FOLDER.glob(f"*/{_MARK}"):
        pid = mark.read_text().strip()
        with suppress(OSError):
            if b"tests.lab" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGTERM)
                sys.stdout.write(f"lab {mark.parent.name} ends\n")
    return 0


sys.exit(main())
