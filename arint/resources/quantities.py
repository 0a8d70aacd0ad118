"""Durations and sizes as people write them."""

from __future__ import annotations

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_OCTETS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def _split(text: str) -> tuple[float, str]:
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return float(number), text[len(number):]


def seconds(text: str) -> float:
    """A duration in seconds: "500ms" is 0.5. Raises ValueError or KeyError for anything else."""
    number, unit = _split(text)
    return number * _SECONDS[unit]


def octets(text: str) -> int:
    """A size in bytes: "1KiB" is 1024. Raises ValueError or KeyError for anything else."""
    number, unit = _split(text)
    return int(number * _OCTETS[unit])


def backoff(text: str) -> tuple[float, float]:
    """First and longest wait in seconds: "1s..5m" is (1.0, 300.0)."""
    first, _, longest = text.partition("..")
    return seconds(first), seconds(longest)
