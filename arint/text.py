"""Text for a terminal: what came from outside must not steer it."""

from __future__ import annotations

from datetime import UTC, datetime

_KEPT = "\n\t"


def printable(text: str, *, multiline: bool = False) -> str:
    """The text with control characters made visible, so that a message cannot move the cursor or set a title."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or (multiline and character in _KEPT)
                   else _visible(character) for character in text)


def _visible(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def clock(at: float) -> str:
    """A moment as RFC 3339 in UTC with milliseconds; empty for 0."""
    if not at:
        return ""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def lasting(seconds: float) -> str:
    """A duration as people say it: 12ms, 3.4s, 5m, 2h, 3d."""
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return ""


def octets_text(octets: float) -> str:
    """A size as people say it: 512 B, 1.5 KiB, 45.0 MiB."""
    if octets < 1024:
        return f"{octets:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        octets /= 1024
        if octets < 1024:
            return f"{octets:.1f} {unit}"
    return f"{octets / 1024:.1f} TiB"
