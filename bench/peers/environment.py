"""Environments for the peers: made once, kept under `bench/.cache`, never part of the project's own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache"


class Missing(Exception):
    """A peer cannot be measured here, and why."""


def environment(*packages: str) -> Path:
    """The folder of programs of a virtual environment that holds these packages. Raises Missing without a network."""
    folder = CACHE / f"venv-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"
    done = folder / ".complete"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        made = subprocess.run([str(folder / "bin" / "pip"), "install", "--quiet", *packages], check=False,
                              capture_output=True, text=True)
        if made.returncode:
            raise Missing(f"{', '.join(packages)} cannot be installed: {made.stderr.strip()[-200:]}")
        done.touch()
    return folder / "bin"
