"""Every check that can be made from here: what was found, and what to do about it."""

from __future__ import annotations

import asyncio
import resource
import stat
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

import msgspec

from arint.errors import ArintError
from arint.operations.progress import Progress, Step, silent

if TYPE_CHECKING:
    from arint.operations.connect import Link

State = Literal["good", "warning", "failed"]
_GIB = 2**30
_LEAST_FREE = 2 * _GIB
_LEAST_FILES = 4096
_FULL = 0.8
_EXPIRES_SOON = 7 * 86400.0
_SLOW_SYNC = 0.05


class Check(msgspec.Struct, frozen=True):
    """One check: what was found, and where that is not good, what to do."""

    name: str
    state: State
    found: str
    remedy: str = ""


Made = tuple[State, str, str]
"""State, what was found, what to do."""
Examination = Callable[["Link"], Awaitable[Made]]


async def examine(link: Link, progress: Progress = silent) -> list[Check]:
    """All checks; one that cannot be made is a failed one, not an error."""
    made = [await _guarded(name, check, link, progress) for name, check in _OF_THE_MACHINE.items()]
    if link.home.exists:
        made += [await _guarded(name, check, link, progress) for name, check in _OF_THE_CLUSTER.items()]
    return made


async def _guarded(name: str, check: Examination, link: Link, progress: Progress) -> Check:
    progress(Step(f"checking {name}"))
    try:
        return Check(name, *await check(link))
    except ArintError as error:
        return Check(name, "failed", f"{error.where}: {error.what}" if error.where else error.what,
                     error.remedy or "arintctl status and the logs in the home tell more")
    except OSError as error:
        return Check(name, "failed", str(error), "")


async def _home(link: Link) -> Made:
    config = link.config
    mode = stat.S_IMODE(link.home.path.stat().st_mode)
    if mode & 0o066:
        return "failed", f"others may read {link.home.path}", f"chmod 700 {link.home.path}"
    return "good", f"{link.home.path}, node {config.node} of cluster {config.cluster}, format {config.format}", ""


async def _python(link: Link) -> Made:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036 - who runs from a source tree may have any
        return "failed", version, "install Python 3.11 or newer"
    return "good", f"{version} at {sys.executable}", ""


async def _disk(link: Link) -> Made:
    from arint.engines.machine import disk_free

    folder = link.home.path if link.home.path.exists() else link.home.path.anchor
    free = disk_free(type(link.home.path)(folder))
    told = f"{free / _GIB:.1f} GiB free"
    if free < _LEAST_FREE:
        return "warning", told, "make room: a full disk stops channels from accepting (503), nothing is lost"
    return "good", told, ""


async def _files(link: Link) -> Made:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _LEAST_FILES:
        return "warning", f"{soft} open files a process ({hard} at most)", "raise it: ulimit -n 65536"
    return "good", f"{soft} open files a process", ""


async def _certificates(link: Link) -> Made:
    from cryptography import x509

    from arint.security.ca import CAS, IDENTITIES

    files = [link.home.pki / f"{name}.pem" for name in (*CAS, *(identity.name for identity in IDENTITIES))]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        return "failed", f"missing: {', '.join(missing)}", "arintctl up makes them"
    ends = {file.name: x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()
            for file in files}
    first = min(ends, key=lambda name: ends[name])
    days = (ends[first] - time.time()) / 86400
    if ends[first] - time.time() < _EXPIRES_SOON:
        return "warning", f"{first} ends in {days:.0f} days", ("the agent renews it: see its log, and "
                                                                    "arintctl cluster certs list")
    return "good", f"{len(files)}, the first ends in {days:.0f} days", ""


async def _etcd_program(link: Link) -> Made:
    from arint.engines.find import find_etcd

    program = await asyncio.to_thread(find_etcd)
    told = f"{program.version_text} at {program.path}: {program.why}"
    if (3, 5, 0) <= program.version < (3, 5, 3):
        return "good", told, "good for one machine; for several: arintctl engine fetch etcd"
    return "good", told, ""


async def _nats_program(link: Link) -> Made:
    from arint.engines.find import find_nats

    program = await asyncio.to_thread(find_nats)
    return "good", f"{program.version_text} at {program.path}: {program.why}", ""


async def _agent(link: Link) -> Made:
    status = await link.agent.status()
    if not status.ready:
        return "failed", status.error or "not ready", f"its log: {link.home.log_file('agent')}"
    return "good", f"process {status.pid}, change set {status.change_set}", ""


async def _limits(link: Link) -> Made:
    status = await link.agent.status()
    if status.limits == "cgroup":
        return "good", f"cgroup v2: {status.limits_why}", ""
    return "good", f"rlimits, which are weaker: {status.limits_why}", (
        "for cgroup v2: run the agent as root or in a delegated group (systemd: Delegate=yes)")


async def _etcd(link: Link) -> Made:
    begun = time.monotonic()
    etcd = await link.etcd()
    found = await etcd.status()
    took = time.monotonic() - begun
    told = f"version {found.version}, answers in {took * 1000:.0f} ms, {found.database_bytes // 1024} KiB"
    return "good", told, ""


async def _nats(link: Link) -> Made:
    from arint.operations.probe import pass_a_message

    bus = await link.bus()
    begun = time.monotonic()
    await pass_a_message(bus)
    took = time.monotonic() - begun
    told = f"stored a message and gave it back in {took * 1000:.0f} ms"
    if took > _SLOW_SYNC and link.config.fsync:
        return "warning", told, "the disk syncs slowly; a faster one accepts more messages"
    return "good", told, ""


async def _instances(link: Link) -> Made:
    status = await link.agent.status()
    late = [item for item in status.instances if item.state not in ("ready", "draining")]
    if late:
        told = "; ".join(f"{item.instance} {item.state}" for item in late)
        return "failed", told, f"arintctl logs {late[0].instance}"
    return "good", f"{len(status.instances)} ready", ""


async def _connections(link: Link) -> Made:
    status = await link.agent.status()
    away = sorted({name for item in status.instances for name in item.circuits})
    if away:
        return "warning", f"away: {', '.join(away)}", "messages wait and go on by themselves when it is back"
    return "good", "none is away", ""


async def _streams(link: Link) -> Made:
    from arint.artifacts.store import LARGEST
    from arint.bus.streams import names, state
    from arint.bus.subjects import CODE

    bus = await link.bus()
    states = [await state(bus, name) for name in await names(bus)]
    full = [one.name for one in states
            if one.max_bytes > 0 and one.size > _FULL * (LARGEST if one.name == CODE else one.max_bytes)]
    if full:
        return "warning", f"nearly full: {', '.join(full)}", "raise the flow's max_bytes, or see why it is not emptied"
    return "good", f"{len(states)}, {sum(one.messages for one in states)} messages", ""


async def _dead_letters(link: Link) -> Made:
    from arint.bus.streams import state
    from arint.bus.subjects import DEAD

    found = await state(await link.bus(), DEAD)
    if found.subjects:
        return "warning", f"{found.subjects}", "arintctl dlq list"
    return "good", "none", ""


async def _configuration(link: Link) -> Made:
    from arint.operations.history import applied
    from arint.operations.shipping import lost
    from arint.resources.canonical import plain
    from arint.resources.kinds import Service
    from arint.resources.together import mistakes_together

    number, resources = await applied(link)
    codes = {one.code: one.name for one in resources.values() if isinstance(one, Service)}
    if missing := await lost(link, codes):
        told = ", ".join(sorted(codes[digest] for digest in missing))
        return "failed", f"the code is missing of: {told}", "apply them again from their source"
    written = {key: plain(one) for key, one in resources.items()}
    wrong = [f"{key}: {mistake.message}" for key, mistake in mistakes_together(written, written)]
    if wrong:
        return "failed", "; ".join(wrong), "correct it and apply again"
    return "good", f"change set {number}, {len(resources)} resources", ""


async def _backups(link: Link) -> Made:
    from arint.backup.schedule import due, read_outcome, read_schedule

    schedule, outcome = read_schedule(link.home), read_outcome(link.home)
    if schedule is None:
        return "good", "none are scheduled on this node", ""
    if outcome.error:
        return "failed", f"the last one failed: {outcome.error}", "the error says what to do"
    if time.time() > due(schedule, outcome) + schedule.every:
        return "warning", "one is overdue", f"the agent's log: {link.home.log_file('agent')}"
    return "good", f"the last is {outcome.file}", ""


_OF_THE_MACHINE: dict[str, Examination] = {
    "home": _home, "python": _python, "disk": _disk, "files": _files, "certificates": _certificates,
    "etcd program": _etcd_program, "nats program": _nats_program,
}
_OF_THE_CLUSTER: dict[str, Examination] = {
    "agent": _agent, "limits": _limits, "etcd": _etcd, "nats": _nats, "instances": _instances,
    "connections": _connections, "streams": _streams, "dead letters": _dead_letters, "configuration": _configuration,
    "backups": _backups,
}
