"""The release, without asking the package's metadata, which takes longer than all else that `--version` does."""

from __future__ import annotations

VERSION = "0.1.0"
"""The same as in pyproject.toml; a test holds them together."""
