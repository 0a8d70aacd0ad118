"""cluster add-node, upgrade, remove-node, reset: the machines of an inventory, over SSH.

The cluster is asked through this machine's home, or where that is none of its servers, over SSH through one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from arint.bootstrap import planning, preflight
from arint.bootstrap.doors import Door, Known, OverSsh, OwnHome
from arint.bootstrap.inventory import Host
from arint.bootstrap.planning import HostPlan, Release, Target
from arint.bootstrap.releases import release
from arint.bootstrap.ssh import Remote
from arint.errors import ArintError, ConflictError, NotFoundError, UnreachableError
from arint.operations.connect import Link
from arint.operations.machines import Machines, Outcome, Outcomes, Tell, Tools, Wishes, Work, silent
from arint.operations.progress import Progress
from arint.operations.progress import silent as no_progress

_NO_RELEASE = Release(id="", archive="", sha256="", size=0, unpacked=0, system="", machine="", glibc="")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What all of them work with: the machines of the cluster, and those that are meant."""

    hosts: tuple[Host, ...]
    chosen: tuple[Host, ...]
    tools: Tools
    wishes: Wishes
    bundle: Path | None = None
    tell: Tell = silent
    progress: Progress = no_progress


async def add_nodes(link: Link, setting: Setting) -> Outcomes:
    """Make the chosen machines nodes of their cluster. Raises what concerns all; what concerns one is its outcome."""
    async with Machines(setting.tools, setting.wishes, setting.tell) as machines:
        return await _add(setting, machines, await door_of(link, setting.hosts, machines))


async def _add(setting: Setting, machines: Machines, door: Door) -> Outcomes:
    bundle = machines.aside(lambda: release(setting.bundle, progress=setting.progress))
    recorded = await door.nodes()
    works = [Work(host) for host in setting.chosen]

    async def look(work: Work) -> None:
        await machines.meet(work)
        target = _target(work, setting.wishes, await bundle, recorded)
        problems = preflight.problems(target)
        if not target.joined:
            remote, servers = work.machine.remote, door.servers
            problems += await machines.aside(lambda: _unreachable(remote, servers))
        preflight.refuse(work.host.node, problems)
        machines.say(work, "preflight", "no problem", done=True)
        work.did = "changed" if target.joined else "added"
        work.plan = planning.plan(target)
        _say_plan(machines, work)

    await machines.each(works, look)
    whole, go_on = machines.agreed(works, (await bundle).id)
    if not go_on:
        return Outcomes(tuple(work.outcome("planned") for work in works), whole)
    await machines.each(works, lambda work: machines.carry_out(work, door))
    return Outcomes(tuple(work.outcome() for work in works), whole)


async def upgrade(link: Link, setting: Setting, *, drains: bool = True) -> Outcomes:
    """Bring the chosen nodes to a release, one after the other, each while nothing runs there.

    The first that does not come back ends it: the others stay as they are.
    """
    async with Machines(setting.tools, setting.wishes, setting.tell) as machines:
        door = await door_of(link, setting.hosts, machines)
        bundle = machines.aside(lambda: release(setting.bundle, progress=setting.progress))
        recorded = await door.nodes()
        works = [Work(host) for host in sorted(setting.chosen, key=lambda host: host.is_server)]

        async def look(work: Work) -> None:
            await machines.meet(work)
            target = _target(work, setting.wishes, await bundle, recorded)
            known = recorded.get(work.host.node)
            if known is None or target.facts.node is None or target.facts.node.node != work.host.node:
                raise NotFoundError("it is no node of the cluster", where=work.host.node,
                                    remedy=f"arintctl cluster add-node {work.host.node}")
            preflight.refuse(work.host.node, preflight.of_upgrade(target))
            work.did, work.plan = "upgraded", planning.upgrade(
                target, drains=drains, cordoned=known.cordoned, drained=bool(known.drain), force=setting.wishes.force,
                waiting=setting.wishes.waiting)
            _say_plan(machines, work)

        await machines.each(works, look)
        whole, go_on = machines.agreed(works, (await bundle).id)
        if not go_on:
            return Outcomes(tuple(work.outcome("planned") for work in works), whole)
        return Outcomes(tuple(await _rolled(machines, works, door)), whole)


async def _rolled(machines: Machines, works: Sequence[Work], door: Door) -> list[Outcome]:
    """One node after the other."""
    failed = ""
    for work in works:
        if work.error is None and failed:
            work.error = ConflictError(f"not begun, since {failed} failed", where=work.host.node,
                                       remedy="mend that node, and run the same again")
        await machines.each([work], lambda one: machines.carry_out(one, door))
        failed = failed or (work.host.node if work.error is not None else "")
    return [work.outcome() for work in works]


async def remove_nodes(link: Link, setting: Setting) -> Outcomes:
    """Drain the chosen nodes, take them out of the cluster, and off their machines; one after the other."""
    async with Machines(setting.tools, setting.wishes, setting.tell) as machines:
        others = tuple(host for host in setting.hosts if host not in setting.chosen)
        door = await door_of(link, others or setting.hosts, machines)
        recorded = await door.nodes()
        works = [Work(host) for host in setting.chosen]

        async def look(work: Work) -> None:
            known = recorded.get(work.host.node)
            await machines.meet(work)
            node = work.machine.facts.node
            if node is not None and (node.cluster, node.node) != (work.host.cluster, work.host.node):
                raise ConflictError(f"that machine is node {node.node} of cluster {node.cluster}",
                                    where=work.host.node, remedy="correct the inventory")
            target = _target(work, setting.wishes, _NO_RELEASE, recorded)
            work.did, work.plan = "removed", planning.removal(
                target, lives=known is not None and known.state != "away",
                force=setting.wishes.force, waiting=setting.wishes.waiting)
            _say_plan(machines, work)

        await machines.each(works, look)
        whole, go_on = machines.agreed(works)
        if not go_on:
            return Outcomes(tuple(work.outcome("planned") for work in works), whole)
        for work in works:
            await machines.each([work], lambda one: machines.carry_out(one, door))
        return Outcomes(tuple(work.outcome() for work in works), whole)


async def reset(setting: Setting) -> Outcomes:
    """Make the chosen machines bare again; no cluster is asked."""
    async with Machines(setting.tools, setting.wishes, setting.tell) as machines:
        works = [Work(host) for host in setting.chosen]

        async def look(work: Work) -> None:
            await machines.meet(work)
            work.did, work.plan = "reset", planning.reset(_target(work, setting.wishes, _NO_RELEASE, {}))
            _say_plan(machines, work)

        await machines.each(works, look)
        whole, go_on = machines.agreed(works)
        if not go_on:
            return Outcomes(tuple(work.outcome("planned") for work in works), whole)
        await machines.each(works, lambda work: machines.carry_out(work, None))
        return Outcomes(tuple(work.outcome() for work in works), whole)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A machine of the inventory, or a node that the inventory does not know. `state` is as `node list` has it."""

    node: str
    host: str
    roles: tuple[str, ...] = ()
    reached: bool = False
    release: str = ""
    running: bool = False
    state: str = ""
    keeper: str = ""
    error: str = ""


async def standing(link: Link, setting: Setting) -> tuple[Standing, ...]:
    """How every machine of the inventory stands: by SSH, and as the cluster sees it."""
    async with Machines(setting.tools, setting.wishes, setting.tell) as machines:
        recorded: dict[str, Known] = {}
        trouble = ""
        try:
            recorded = await (await door_of(link, setting.hosts, machines)).nodes()
        except ArintError as error:
            trouble = str(error)
        works = [Work(host) for host in setting.chosen]
        await machines.each([work for work in works if not work.host.local], machines.meet)
        found = [_stands(work, recorded, trouble) for work in works]
        names = {host.node for host in setting.hosts}
        found += [Standing(node=name, host=one.host, state=one.state, error="the inventory does not name it")
                  for name, one in sorted(recorded.items()) if name not in names and setting.chosen == setting.hosts]
        return tuple(found)


def _stands(work: Work, recorded: dict[str, Known], trouble: str) -> Standing:
    host, known = work.host, recorded.get(work.host.node)
    state = known.state if known is not None else "" if trouble else "not a node"
    if host.local or work.error is not None:
        return Standing(node=host.node, host=host.host, roles=host.roles, state=state,
                        error=str(work.error) if work.error is not None else trouble)
    facts = work.machine.facts
    return Standing(node=host.node, host=host.host, roles=host.roles, reached=True, release=facts.current,
                    running=bool(facts.running), state=state, error=trouble,
                    keeper="systemd" if facts.systemd_unit else "supervisor")


async def door_of(link: Link, hosts: Sequence[Host], machines: Machines) -> Door:
    """The way to the cluster of these machines. Raises NotFoundError, UnreachableError where there is none."""
    cluster = hosts[0].cluster
    if link.home.exists and link.config.cluster == cluster and link.config.is_server:
        return OwnHome(link)
    tried: list[str] = []
    for host in hosts:
        if not host.is_server or host.local:
            continue
        try:
            server = await machines.reach(host)
        except ArintError as error:
            tried.append(str(error))
            continue
        node = server.facts.node
        if node is not None and node.cluster == cluster and node.is_server and server.facts.running:
            return OverSsh(server, machines.pool)
        tried.append(f"{host.node}: no server of the cluster {cluster} runs there")
    if not tried:
        raise NotFoundError(f"neither this machine's home nor a machine of the inventory is a server of {cluster}",
                            where=hosts[0].place.partition(":")[0],
                            remedy="run it on a server, name its home with --home, or: arintctl up --host ADDRESS")
    raise UnreachableError(f"no server of the cluster {cluster} can be asked: {'; '.join(tried)}",
                           remedy="on the first one: arintctl up --host ADDRESS")


def _target(work: Work, wishes: Wishes, bundle: Release, recorded: dict[str, Known]) -> Target:
    known = recorded.get(work.host.node)
    return Target(host=work.host, facts=work.machine.facts, release=bundle, timeout=wishes.timeout,
                  recorded=known.host if known is not None else "")


def _say_plan(machines: Machines, work: Work) -> None:
    plan: HostPlan | None = work.plan
    changes = len(plan.changes) if plan is not None else 0
    machines.say(work, "plan", f"{changes} steps" if changes else "nothing to do", done=True)


def _unreachable(remote: Remote, servers: Sequence[tuple[str, int]]) -> list[str]:
    """Which servers of the cluster the machine does not reach, where its sshd lets us ask."""
    missing = [f"{host}:{port}" for host, port in servers if remote.reaches(host, port) is False]
    return [f"it does not reach the cluster's servers at {', '.join(missing)}: open these ports between them"
            ] if missing else []
