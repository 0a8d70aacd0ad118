"""Whom the engines of this node let in: etcd's users and roles, and the broker's users as nodes and people come and go.

`python -m nodeagent.permitting HOME` is for an etcd that does not know this server's administrator, one that was
restored from another's backup: who holds the CA's key may always let themselves in.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from arint.engines.nats import Known, Nats
from arint.errors import ArintError, DeniedError
from arint.home import Home, NodeConfig
from arint.store.access import permit
from arint.store.connection import Etcd, Tls
from nodeagent import helper
from nodeagent.bell import Bell
from nodeagent.views import Views

log = logging.getLogger(__name__)

_TRY_AGAIN = 1.0
_ROOT_DAYS = 1
_SETTLE = 0.2
"""Seconds in which nodes that come together are let in together."""


async def keep_permissions(home: Home, config: NodeConfig) -> None:
    """Bring etcd's users and roles to what they should be, once; as long as it takes. Nothing where no admin is."""
    admin = Tls(*home.identity("etcd-admin"))
    if not await asyncio.to_thread(Path(admin.key).exists):
        return
    while True:
        try:
            try:
                changed = await _permit(home, config, admin)
            except DeniedError:
                await helper.run("nodeagent.permitting", str(home.path))
                changed = True
        except ArintError as error:
            log.warning("etcd's permissions: %s", error)
            await asyncio.sleep(_TRY_AGAIN)
        else:
            if changed:
                log.info("etcd's users and roles are as they should be")
            return


async def keep_letting_in(nats: Nats, ready: asyncio.Event, views: Views, bell: Bell) -> None:
    """Have the broker let in the nodes and people that are known, and nobody else, until cancelled."""
    done: Known | None = None
    while True:
        rings = bell.rings
        known = Known(tuple(sorted(views.nodes.snapshot)), tuple(sorted(views.people.snapshot)))
        if known != done and ready.is_set():
            try:
                if await asyncio.to_thread(nats.let_in, known):
                    log.info("the broker lets in the nodes %s and %d people", ", ".join(known.nodes), len(known.users))
                done = known
            except (OSError, ValueError) as error:
                log.warning("the broker's users: %s", error)
                await asyncio.sleep(_TRY_AGAIN)
            await asyncio.sleep(_SETTLE)
        await bell.wait(rings, None if known == done else _TRY_AGAIN)


async def _permit(home: Home, config: NodeConfig, tls: Tls) -> bool:
    async with Etcd([f"{config.host}:{config.ports.etcd_client}"], tls) as etcd:
        return await permit(etcd, config.cluster, config.node)


def main() -> None:
    """Let this server's administrator in, as etcd's root."""
    from arint.security.ca import issue

    home = Home(sys.argv[1])
    try:
        with tempfile.TemporaryDirectory(dir=home.run) as folder:
            issue(home.pki, "etcd-ca", "root", Path(folder), "root", days=_ROOT_DAYS)
            tls = Tls(home.identity("etcd-admin").ca, f"{folder}/root.pem", f"{folder}/root.key")
            asyncio.run(_permit(home, home.load(), tls))
    except ArintError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
