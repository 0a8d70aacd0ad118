"""Content-addressed code: packed where a service is applied, unpacked where it runs."""

from arint.artifacts.packing import pack, pack_files, unpack

__all__ = ["pack", "pack_files", "unpack"]
