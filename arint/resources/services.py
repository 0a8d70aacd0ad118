"""What runs a service, a callable or a program: what must hold of it beyond its types, and which files it needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from pathlib import PurePosixPath
from typing import Any

from arint.resources.checking import Mistake

_BOTH = "write source: FILE.py:CALLABLE for Python, or command: [./PROGRAM, ARGUMENT] for any language"
_OWN_PROCESS = ("command", "requirements", "user", "env")
"""Keys of a service that cannot run in the listener."""


def service_mistakes(written: Mapping[str, Any], folder: FilePath) -> Iterator[Mistake]:
    """Of a Service as it is written; files are looked for in `folder` unless its code is stored already."""
    source, command = written.get("source"), written.get("command")
    if source and command:
        yield Mistake(("command",), "only one of source and command is possible", _BOTH, on_key=True)
    elif not source and not command:
        yield Mistake((), "one of the keys source and command is needed", _BOTH)
    if command and written.get("requirements"):
        yield Mistake(("requirements",), "requirements are packages of a source", on_key=True,
                      suggestion="a command brings its own: ship them with include, or install them on the nodes")
    if not command and "framing" in written:
        yield Mistake(("framing",), "framing belongs to a command", "leave it out: source is called directly",
                      on_key=True)
    if written.get("colocate") is True and (own := [key for key in _OWN_PROCESS if written.get(key)]):
        yield Mistake(("colocate",), f"what has `{own[0]}` needs a process of its own", "leave one of the two out")
    yield from _in_placement(written)
    if written.get("code"):
        return
    file, _, called = str(source).rpartition(":")
    if file and called and not (folder / file).is_file():
        yield Mistake(("source",), f"there is no file {file} in {folder}", "the path is relative to the manifest")
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        yield from _in_command(command, folder)


def _in_placement(written: Mapping[str, Any]) -> Iterator[Mistake]:
    mode = written.get("mode", "replicated")
    update, placement = written.get("update"), written.get("placement")
    if mode != "replicated" and isinstance(update, dict) and update.get("canary"):
        yield Mistake(("update", "canary"), f"canaries run beside others, and the mode is {mode}",
                      "leave it out, or mode: replicated", on_key=True)
    if mode == "every-node" and isinstance(placement, dict) and placement.get("anti_affinity"):
        yield Mistake(("placement", "anti_affinity"), "what runs on every node is kept apart from nothing",
                      "leave it out, or choose its nodes by labels", on_key=True)


def is_shipped(word: str) -> bool:
    """Whether the first word of a command names a file of its folder; else a program that the node has (`perl`)."""
    return "/" in word and not word.startswith("/")


def shipped_files(command: Sequence[str], folder: FilePath) -> list[str]:
    """The files of the folder that the command names, relative to it: the program, and arguments that are files."""
    named = [word for index, word in enumerate(command)
             if (is_shipped(word) if index == 0 else _may_be_file(word) and (folder / word).is_file())]
    return sorted({PurePosixPath(os.path.normpath(word)).as_posix() for word in named})


def _may_be_file(word: str) -> bool:
    """A relative path that stays in its folder: an argument that leads elsewhere is only text."""
    return len(word) < 256 and not word.startswith(("/", "-")) and not leads_out(word)


def leads_out(word: str) -> bool:
    """Whether a relative path leaves its folder."""
    return os.path.normpath(word).split("/")[0] == ".."


def _in_command(command: Sequence[str], folder: FilePath) -> Iterator[Mistake]:
    place, program = ("command", 0), command[0] if command else ""
    if not is_shipped(program):
        return
    file = folder / program
    if leads_out(program):
        yield Mistake(place, f"{program} leads out of the manifest's folder",
                      "what runs is shipped: keep the program in the folder, or name one that every node has installed")
    elif not file.is_file():
        yield Mistake(place, f"there is no file {program} in {folder}", "the path is relative to the manifest")
    elif not os.access(file, os.X_OK):
        yield Mistake(place, f"{program} is not executable",
                      f"chmod +x {program}, or begin with its interpreter: command: [perl, {program}]")
