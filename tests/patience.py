"""How long a test waits for what must come: it costs nothing where that comes soon, and a loaded machine needs it."""

from __future__ import annotations

PATIENCE = 60.0
"""Seconds. What must come *within* a time is another matter: a test of that says so itself, with ample room."""
