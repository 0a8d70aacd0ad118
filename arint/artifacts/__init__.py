"""Content-addressed code: packed where a service is applied, unpacked where it runs."""

from arint.artifacts.packing import pack, unpack

__all__ = ["pack", "unpack"]
