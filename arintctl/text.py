"""Text for a terminal: the command line and the console write it alike."""

from __future__ import annotations

from arint.text import clock, lasting, octets_text, printable

__all__ = ["clock", "lasting", "octets_text", "printable"]
