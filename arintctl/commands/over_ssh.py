"""node exec, node shell: on machines of an inventory, over SSH."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from arint.errors import ArintError, UsageError
from arintctl import options
from arintctl.commands.join import app
from arintctl.commands.machines import DEFAULT, AcceptNew, ClusterName, InventoryFile, Parallel, chosen, tools
from arintctl.session import Session
from arintctl.text import printable
from arintctl.verb import verb

if TYPE_CHECKING:
    from arint.bootstrap.inventory import Host
    from arint.operations.machines import Tools

Root = Annotated[bool, typer.Option("--root/--user", help="As root, by sudo where that is needed; or as who logs in.")]


@verb(app, "exec", example="arintctl node exec n2 n3 -- uptime")
def exec_(session: Session,
          words: Annotated[list[str], typer.Argument(metavar="[NODE]... -- COMMAND...", help=(
              "Nodes of the inventory (default: all), then a command and its words."))], *,
          inventory: InventoryFile = DEFAULT, cluster: ClusterName = "", parallel: Parallel = 10,
          accept_new: AcceptNew = False, root: Root = True, timeout: options.Timeout = "5m") -> None:
    """Run a command on machines over SSH, all at once; each line is told with its node.

    The command is a list of words and no shell's line: for one, sh -c '…'. The exit code is the highest of them.
    """
    from arint.bootstrap.inventory import load

    hosts = load(inventory).cluster(cluster)
    names, command = _apart(words, {one for host in hosts for one in (host.node, host.host)})
    meant = chosen(hosts, names or None, None)
    at_hand, seconds, lock = tools(accept_new=accept_new, yes=True), options.seconds_of(timeout), threading.Lock()

    def one(host: Host) -> int:
        try:
            return _streamed(host, at_hand, command, lock, root=root, timeout=seconds)
        except ArintError as error:
            _line(lock, host.node, str(error), error=True)
            return error.exit_code

    with ThreadPoolExecutor(max_workers=parallel) as pool:
        codes = list(pool.map(one, meant))
    sys.stdout.flush()
    if any(codes):
        raise typer.Exit(max(codes))


@verb(app, "shell", example="arintctl node shell n2")
def shell(session: Session,
          name: Annotated[str, typer.Argument(metavar="NODE", help="A node of the inventory.")], *,
          inventory: InventoryFile = DEFAULT, cluster: ClusterName = "", accept_new: AcceptNew = False) -> None:
    """Open a shell on a machine of the inventory, as who logs in there."""
    from arint.bootstrap.inventory import load
    from arint.bootstrap.ssh import connect
    from arint.bootstrap.terminal import shell as operation

    host, = chosen(load(inventory).cluster(cluster), [name], None)
    at_hand = tools(accept_new=accept_new, yes=True)
    with connect(host, at_hand.known, at_hand.passwords) as remote:
        code = operation(remote)
    if code:
        raise typer.Exit(code)


def _apart(words: list[str], known: set[str]) -> tuple[list[str], list[str]]:
    """The nodes in front, and the command: from the first word on that is no node's name."""
    count = next((index for index, word in enumerate(words) if word not in known), len(words))
    if count == len(words):
        raise UsageError("no command is named", remedy="arintctl node exec n2 -- uptime")
    return words[:count], words[count:]


def _streamed(host: Host, at_hand: Tools, command: list[str], lock: threading.Lock, *, root: bool,
              timeout: float) -> int:
    from arint.bootstrap.facts import become
    from arint.bootstrap.ssh import connect
    from arint.bootstrap.terminal import stream

    with connect(host, at_hand.known, at_hand.passwords) as remote:
        if root:
            secret = host.sudo_password
            become(remote, at_hand.passwords.get(secret, f"sudo password of {remote.user}@{host.host}")
                   if secret is not None and remote.user != "root" else None)
        return stream(remote, command, lambda line, error: _line(lock, host.node, line, error=error), root=root,
                      timeout=timeout)


def _line(lock: threading.Lock, node: str, line: str, *, error: bool) -> None:
    with lock:
        (sys.stderr if error else sys.stdout).write(f"{node}: {printable(line)}\n")


__all__ = ["app"]
