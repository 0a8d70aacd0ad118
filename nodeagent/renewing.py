"""Certificates looked at and renewed, in a short process of its own: `python -m nodeagent.renewing HOME`.

It reads a Task on stdin and writes a Report. Where the CA's keys lie, it signs itself. Elsewhere it makes new keys,
asks a server over the bus (`arint.administration.signing`), and keeps the old ones until the answer was looked at.
"""

from __future__ import annotations

import asyncio
import shutil
import sys

import msgspec

from arint.administration.signing import Signed
from arint.bus.connection import Bus
from arint.errors import ArintError
from arint.home import Home, NodeConfig
from arint.registry.certificates import Report, Wanted
from arint.runtime.control import BusSettings
from arint.security.authorities import bring_authorities, signers
from arint.security.ca import ensure_pki, hosts_of
from arint.security.leaves import is_due, look, trouble
from arint.security.permissions import renewal_subject
from arint.security.requests import make_requests, read_cas, take_certificates

_ANSWER = 10.0


class Task(msgspec.Struct, frozen=True):
    """What is wanted; `anew`: renew all, however long they last."""

    wanted: Wanted
    anew: bool = False


def main() -> None:
    """Do it once."""
    home = Home(sys.argv[1])
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    try:
        report = asyncio.run(bring_about(home, task))
    except ArintError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{error.strerror}: {error.filename}")
    sys.stdout.buffer.write(msgspec.json.encode(report))


async def bring_about(home: Home, task: Task) -> Report:
    """Bring the home's certificates to what is wanted; what it has then. Errors are told in the report."""
    config = home.load()
    error = ""
    try:
        if config.is_server:
            await bring_authorities(home, config, task.wanted)
            ensure_pki(home, hosts_of(config), anew=task.anew)
        else:
            await bring_authorities(home, config, task.wanted)
            if task.anew or is_due(look(home, config.node), signers(task.wanted)):
                await _ask_a_server(home, config)
    except ArintError as failure:
        error = str(failure)
    report = look(home, config.node)
    return msgspec.structs.replace(report, error=_told(report, error, task))


def _told(report: Report, error: str, task: Task) -> str:
    if bad := trouble(report):
        return f"{bad}; let this node join again: arintctl node request" + (f" ({error})" if error else "")
    if error:
        return f"certificates could not be renewed: {error}"
    if is_due(report, signers(task.wanted)):
        return "certificates could not be renewed: the server that signed has not changed its CA yet"
    return ""


async def _ask_a_server(home: Home, config: NodeConfig) -> None:
    """Raises ArintError where none answers, or refuses."""
    keys = home.pki / ".renewing"
    shutil.rmtree(keys, ignore_errors=True)
    keys.mkdir(mode=0o700)
    try:
        requests = make_requests(home, keys)
        settings = BusSettings(config.nats_servers, *home.identity("agent"))
        async with await Bus.connect(settings, name=f"renewal {config.node}", timeout=_ANSWER) as bus:
            reply = await bus.request(renewal_subject(config.node), msgspec.json.encode(requests), _ANSWER)
        signed = msgspec.json.decode(reply.body, type=Signed)
        if signed.error:
            raise ArintError(signed.error)
        take_certificates(home, config.node, read_cas(home), signed.certificates, keys)
    finally:
        shutil.rmtree(keys, ignore_errors=True)


if __name__ == "__main__":
    main()
