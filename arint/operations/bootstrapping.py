"""The machines of an inventory: added to a cluster, removed from it. The cluster is asked through this machine's home,
or where that is none of its servers, over SSH through one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from arint.bootstrap.doors import Door, OverSsh, OwnHome
from arint.bootstrap.inventory import Host
from arint.bootstrap.releases import release
from arint.errors import ArintError, NotFoundError, UnreachableError
from arint.operations.adding import Added, Adding, Tell, Tools, Wishes
from arint.operations.connect import Link
from arint.operations.progress import Progress, silent


def _nothing(told: object) -> None:
    pass


async def add_nodes(link: Link, hosts: Sequence[Host], chosen: Sequence[Host], *, tools: Tools, wishes: Wishes,
                    bundle: Path | None = None, tell: Tell = _nothing, progress: Progress = silent) -> Added:
    """Make the `chosen` of a cluster's machines its nodes. Raises what concerns all; what concerns one is its outcome.
    """
    async with Adding(tools, wishes, lambda: release(bundle, progress=progress), tell) as adding:
        return await adding.run(chosen, await door_of(link, hosts, adding))


async def door_of(link: Link, hosts: Sequence[Host], adding: Adding) -> Door:
    """The way to the cluster of these machines. Raises NotFoundError, UnreachableError where there is none."""
    cluster = hosts[0].cluster
    if link.home.exists and link.config.cluster == cluster and link.config.is_server:
        return OwnHome(link)
    tried: list[str] = []
    for host in hosts:
        if not host.is_server or host.local:
            continue
        try:
            server = await adding.reach(host)
        except ArintError as error:
            tried.append(str(error))
            continue
        node = server.facts.node
        if node is not None and node.cluster == cluster and node.is_server:
            return OverSsh(server, adding.pool)
        tried.append(f"{host.node}: no server of the cluster {cluster} was set up there")
    if not tried:
        raise NotFoundError(f"neither this machine's home nor a machine of the inventory is a server of {cluster}",
                            where=hosts[0].place.partition(":")[0],
                            remedy="run it on a server, name its home with --home, or begin with arintctl cluster init")
    raise UnreachableError(f"no server of the cluster {cluster} can be asked: {'; '.join(tried)}",
                           remedy="arintctl cluster init makes the first one")
