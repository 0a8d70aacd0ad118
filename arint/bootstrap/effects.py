"""What is done to a machine, as data: shown, saved, and then carried out. Pure."""

from __future__ import annotations

import posixpath
from typing import Literal

import msgspec

from arint.operations.membership import Asked

Phase = Literal["connect", "facts", "preflight", "plan", "approve", "upload", "install", "certificates", "join",
                "prove", "drain", "forget", "stop", "clean"]


class Upload(msgspec.Struct, frozen=True, tag="upload"):
    """Send the archive, unless it lies there whole; one that broke off goes on."""

    archive: str
    sha256: str
    size: int
    to: str


class Account(msgspec.Struct, frozen=True, tag="account"):
    """Make the system user that the node runs as."""

    user: str
    home: str


class Install(msgspec.Struct, frozen=True, tag="install"):
    """Unpack the archive into a folder of its own, beside other releases."""

    archive: str
    sha256: str
    release: str
    prefix: str


class Switch(msgspec.Struct, frozen=True, tag="switch"):
    """Let `current` be this release."""

    release: str
    prefix: str


class Certify(msgspec.Struct, frozen=True, tag="certify"):
    """Have the machine make its keys, and a server sign for them and record the node."""

    asked: Asked


class Join(msgspec.Struct, frozen=True, tag="join"):
    """Write the node's configuration and certificates."""

    asked: Asked
    home: str


class Serve(msgspec.Struct, frozen=True, tag="serve"):
    """Write what keeps the agent running."""

    manager: Literal["systemd", "supervisor"]
    file: str
    content: str


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Start the agent of this release; one of another release, or with another configuration, ends first."""

    manager: Literal["systemd", "supervisor"]
    release: str
    home: str


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Move everything off the node first; `force` stops what no other takes."""

    node: str
    timeout: float
    force: bool = False


class Uncordon(msgspec.Struct, frozen=True, tag="uncordon"):
    """Give the node instances again."""

    node: str


class Forget(msgspec.Struct, frozen=True, tag="forget"):
    """Remove the node from the cluster's records."""

    node: str


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """End the agent with all that it runs, and do not start it again."""

    home: str


class Clean(msgspec.Struct, frozen=True, tag="clean"):
    """Remove the home: keys, messages, data."""

    home: str


class Uninstall(msgspec.Struct, frozen=True, tag="uninstall"):
    """Remove every release."""

    prefix: str


class Prune(msgspec.Struct, frozen=True, tag="prune"):
    """Remove releases that are not needed any more; the one before stays."""

    prefix: str
    keep: tuple[str, ...]


class Prove(msgspec.Struct, frozen=True, tag="prove"):
    """Wait until the agent is ready, and pass a message through the bus as this node."""

    node: str
    timeout: float


Effect = (Upload | Account | Install | Switch | Certify | Join | Serve | Start | Prove | Drain | Uncordon
          | Forget | Stop | Clean | Uninstall | Prune)
_PHASE: dict[type[Effect], Phase] = {
    Upload: "upload", Account: "install", Install: "install", Switch: "install", Certify: "certificates", Join: "join",
    Serve: "join", Start: "join", Prove: "prove", Drain: "drain", Uncordon: "prove",
    Forget: "forget", Stop: "stop", Clean: "clean", Uninstall: "clean", Prune: "clean"}


def phase_of(effect: Effect) -> Phase:
    """Under which phase it is shown."""
    return _PHASE[type(effect)]


def told(effect: Effect) -> str:  # noqa: PLR0911, PLR0912 - a line a kind
    """One line for a person."""
    match effect:
        case Upload(archive=archive, size=size, to=to):
            return f"send {posixpath.basename(archive)} ({size // 10**6} MB) to {to}"
        case Account(user=user):
            return f"make the system user {user}"
        case Install(release=release, prefix=prefix):
            return f"unpack it into {prefix}/{release}"
        case Switch(release=release, prefix=prefix):
            return f"let {prefix}/current be {release}"
        case Certify(asked=asked):
            return f"make its keys there; sign for {asked.node} ({asked.host}), and record it"
        case Join(asked=asked, home=home):
            return f"make {home} the node {asked.node} of cluster {asked.cluster}"
        case Serve(manager=manager, file=file):
            return f"write {file} for {manager}"
        case Start(manager=manager, release=release):
            return f"start the agent of {release} by {manager}"
        case Drain(node=node, force=force):
            return f"move everything off {node}" + (", and stop what no other node takes" if force else "")
        case Uncordon(node=node):
            return f"give {node} instances again"
        case Forget(node=node):
            return f"remove {node} from the cluster's records"
        case Stop():
            return "stop the agent with all that it runs, for good"
        case Clean(home=home):
            return f"remove {home}: its keys, messages and data"
        case Uninstall(prefix=prefix):
            return f"remove {prefix}"
        case Prune(prefix=prefix, keep=keep):
            return f"remove from {prefix} every release but {', '.join(keep)}"
        case Prove(node=node):
            return f"wait until {node} is ready, and pass a message through it"
