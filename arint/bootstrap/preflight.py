"""Whether a machine can become what it shall be: every problem at once, each with what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from arint.bootstrap.facts import Facts
from arint.bootstrap.planning import Target
from arint.errors import NotValidError

LARGEST_SKEW = 5.0
"""Seconds: certificates and schedules go by the clock."""
ROOM = 512 * 2**20
"""Bytes that a home needs at first."""


def problems(target: Target) -> list[str]:
    """All that stands in the way; empty where nothing does."""
    return [*_platform(target), *_tools(target.facts), *_room(target, target.kept or target.release.id),
            *_clock(target.facts), *_earlier(target), *_roles(target)]


def of_upgrade(target: Target) -> list[str]:
    """What stands in the way of another release on a node that is one."""
    return [*_platform(target), *_tools(target.facts), *_room(target, target.release.id),
            *_clock(target.facts)]


def refuse(node: str, found: list[str]) -> None:
    """Raise NotValidError with every problem; return where there is none."""
    if found:
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise NotValidError(f"{count}; nothing was changed there", problems=found, where=node)


def _platform(target: Target) -> Iterator[str]:
    facts, release = target.facts, target.release
    if facts.system != release.system or facts.machine != release.machine:
        yield (f"it is {facts.system or 'unknown'} on {facts.machine or 'an unknown processor'}, and the bundle is for "
               f"{release.system} on {release.machine}: build one there, and name it with --bundle")
        return
    if not facts.glibc:
        yield "its C library is not glibc: only distributions with glibc can run the bundle"
    elif _numbers(facts.glibc) < _numbers(release.glibc):
        yield (f"its C library is glibc {facts.glibc}, and the bundle needs {release.glibc}: build the bundle on an "
               "older distribution, or upgrade the machine")


def _tools(facts: Facts) -> Iterator[str]:
    if facts.missing:
        yield f"it lacks {', '.join(facts.missing)}: install the packages tar, gzip, coreutils and util-linux"


def _room(target: Target, wanted: str) -> Iterator[str]:
    facts, release = target.facts, target.release
    needs: dict[str, int] = {}
    if wanted not in facts.installed:
        needs[facts.prefix] = release.unpacked + 64 * 2**20
        needs[facts.folder] = release.size
    if facts.node is None:
        needs[facts.home] = ROOM
    devices: dict[str, list[str]] = {}
    for folder in needs:
        disk = facts.disks.get(folder)
        if disk is None:
            yield f"{folder}: how much room there is cannot be read"
        elif not disk.writable:
            yield (f"{folder} cannot be written: the file system is read-only, or belongs to another user"
                   if facts.root else f"{folder} cannot be written by {facts.user}")
        else:
            devices.setdefault(disk.device, []).append(folder)
    for folders in devices.values():
        needed, free = sum(needs[one] for one in folders), facts.disks[folders[0]].free
        if free < needed:
            yield (f"there is too little room for {' and '.join(folders)}: {free // 2**20} MiB free of the "
                   f"{needed // 2**20} MiB that it takes")


def _clock(facts: Facts) -> Iterator[str]:
    if abs(facts.skew) > LARGEST_SKEW:
        side = "ahead of" if facts.skew > 0 else "behind"
        yield (f"its clock is {abs(facts.skew):.0f} seconds {side} this machine's: set both by NTP (chrony, "
               "systemd-timesyncd)")


def _earlier(target: Target) -> Iterator[str]:
    facts, host = target.facts, target.host
    if facts.strange:
        yield f"{facts.home} holds {facts.strange}, and is no home of ARINT: remove it, or name another with home:"
    if facts.node is not None and (facts.node.cluster, facts.node.node) != (host.cluster, host.node):
        yield (f"it is the node {facts.node.node} of cluster {facts.node.cluster} already: remove it there "
               f"(arintctl cluster remove-node {facts.node.node}), or arintctl cluster reset it")
    elif facts.node is not None and facts.node.host != host.address:
        yield (f"it is {host.node} already, under the address {facts.node.host}: keep that address, or remove the "
               f"node first (arintctl cluster remove-node {host.node})")
    elif facts.node is not None and facts.node.is_server != host.is_server:
        yield "it cannot change between server and worker: remove the node, then add it again"
    if target.recorded and target.recorded != host.address:
        yield (f"the cluster has a node {host.node} already, at {target.recorded}: choose another name, or "
               f"arintctl cluster remove-node {host.node}")
    for other in facts.others:
        if facts.node is None:
            yield (f"there is another installation, {other}: remove it, or let it be a node by the documents of "
                   "arintctl node request, admit, join")


def _roles(target: Target) -> Iterator[str]:
    if target.host.is_server and target.facts.node is None:
        yield "a server cannot join a cluster that runs yet: give it the roles: [worker]"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
