"""The inventory: which machines belong to which cluster, how each is reached, and what it shall be.

    vars:                       # for every machine
    lans: {NAME: …}             # for the machines of a LAN: how it is reached
    groups: {NAME: …}           # for the machines that name the group
    clusters:
      NAME: {lan: NAME, vars: …, nodes: {NAME: …}}

What stands nearer to a machine wins: vars, its LAN's, its cluster's, its groups' in their order, its own. Labels are
added up; everything else is replaced. No password stands in it: only where one is asked for, or read from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from arint.errors import NotFoundError, NotValidError
from arint.registry.records import Capacity, Role
from arint.resources.checking import Mistake, mistakes
from arint.resources.documents import LARGEST_FILE, BadYamlError, Node, read
from arint.resources.problems import Problem, nearest, path_text, refuse
from arint.resources.quantities import octets

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_KEY = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,252}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}")
_FOLDER = re.compile(r"/[A-Za-z0-9._/-]*[A-Za-z0-9._-]")
_SYSTEM = frozenset({"bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt",
                     "proc", "root", "run", "sbin", "srv", "sys", "tmp", "usr", "var"})
"""Folders at the root that belong to the system, as they are: ours may be below them."""
LARGEST_CLUSTER = 1_000


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a password comes from: a variable of the environment, or a file of one line."""

    env: str = ""
    file: str = ""


Password = Literal["ask"] | Source


class Amount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a machine has for services: processors, and memory such as 4GiB."""

    cpu: float = 0.0
    memory: str = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How machines are reached, and what they shall be. A field that is None says nothing."""

    user: str | None = None
    """Who logs in; by default what `~/.ssh/config` says, or who runs this."""
    port: int | None = None
    key: str | None = None
    """The file of the private key; by default those of `~/.ssh` and of the agent."""
    agent: bool | None = None
    """Whether keys of the running ssh-agent are tried."""
    password: Password | None = None
    passphrase: Password | None = None
    """Of the private key."""
    jump: str | list[str] | None = None
    """`user@host:port`, one or several, through which the machine is reached."""
    ssh_config: bool | None = None
    """Whether `~/.ssh/config` is read."""
    known_hosts: str | None = None
    """Another file of known host keys that is read."""
    sudo: bool | None = None
    """Whether to become root by sudo; by default where the user may, and is not root already."""
    sudo_password: Password | None = None
    roles: tuple[Role, ...] | None = None
    labels: dict[str, str] | None = None
    capacity: Amount | None = None
    prefix: str | None = None
    """The folder that releases are installed in."""
    home: str | None = None
    """The node's home folder."""


class Machine(Settings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One machine."""

    host: str = ""
    """Where SSH reaches it: an address, or a name of `~/.ssh/config`."""
    address: str = ""
    """Where the other nodes reach it; `host` by default."""
    local: bool = False
    """This machine itself: its home is that of arintctl, and nothing is done over SSH."""
    groups: tuple[str, ...] = ()


class _Cluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    nodes: dict[str, Machine] = {}
    lan: str = ""
    vars: Settings = Settings()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    clusters: dict[str, _Cluster]
    vars: Settings = Settings()
    lans: dict[str, Settings] = {}
    groups: dict[str, Settings] = {}


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A machine with everything decided: what `add-node` works from. `place` is where the inventory names it."""

    cluster: str
    node: str
    host: str
    address: str
    place: str = ""
    lan: str = ""
    local: bool = False
    user: str = ""
    port: int = 0
    key: str = ""
    agent: bool = True
    password: Password | None = None
    passphrase: Password | None = None
    jump: tuple[str, ...] = ()
    ssh_config: bool = True
    known_hosts: str = ""
    sudo: bool | None = None
    sudo_password: Password | None = None
    roles: tuple[Role, ...] = ("worker",)
    labels: dict[str, str] = {}
    capacity: Capacity = Capacity()
    prefix: str = ""
    home: str = ""

    @property
    def is_server(self) -> bool:
        """Whether engines shall run there."""
        return "server" in self.roles


class Inventory(msgspec.Struct, frozen=True):
    """All machines of a file."""

    file: str
    hosts: tuple[Host, ...]

    def cluster(self, name: str = "") -> tuple[Host, ...]:
        """The machines of a cluster, in their order; of the only one by default. Raises NotFoundError, NotValidError.
        """
        names = tuple(dict.fromkeys(host.cluster for host in self.hosts))
        if not name and len(names) > 1:
            raise NotValidError(f"the inventory has several clusters: {', '.join(names)}", where=self.file,
                                remedy="choose one with --cluster")
        found = tuple(host for host in self.hosts if not name or host.cluster == name)
        if not found:
            raise NotFoundError(f"the inventory has no machine of a cluster {name!r}" if name
                                else "the inventory has no machines", where=self.file,
                                remedy=nearest(name, names) or None)
        return found


def load(file: Path) -> Inventory:
    """Read an inventory. Raises NotValidError that lists every mistake with its place, NotFoundError."""
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise NotFoundError(f"the inventory cannot be read: {error.strerror}", where=str(file),
                            remedy="name it with -i") from None
    if len(data) > LARGEST_FILE:
        raise NotValidError(f"the inventory is larger than {LARGEST_FILE} bytes", where=str(file))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        refuse([Problem(str(file), line, 1, "", "this is not UTF-8")])
        raise
    return parse(text, str(file))


def parse(text: str, file: str) -> Inventory:
    """The inventory of a text. Raises NotValidError that lists every mistake with its place."""
    try:
        documents = list(read(text))
    except BadYamlError as error:
        refuse([Problem(file, error.mark.line, error.mark.column, "", str(error))])
        raise
    if len(documents) != 1:
        raise NotValidError(f"an inventory is one YAML document, and this holds {len(documents)}", where=file)
    root = documents[0]
    problems = [Problem(file, mark.line, mark.column, path_text(path), f'"{path[-1]}" stands here a second time')
                for path, mark in root.all_duplicates()]
    plain = root.value()
    if not isinstance(plain, dict):
        raise NotValidError("an inventory begins with `clusters:`", where=file)
    problems += [_problem(file, root, _without_secret(one)) for one in mistakes(plain, _File)]
    refuse(problems)
    found = msgspec.convert(plain, _File)
    refuse(_problem(file, root, one) for one in _meanings(found))
    return Inventory(file, tuple(_hosts(found, root, file)))


def _problem(file: str, root: Node, mistake: Mistake) -> Problem:
    mark = root.locate(mistake.path, key=mistake.on_key)
    return Problem(file, mark.line, mark.column, path_text(mistake.path), mistake.message, mistake.suggestion)


def _without_secret(mistake: Mistake) -> Mistake:
    """A password that somebody wrote down all the same is not printed."""
    if not {"password", "passphrase", "sudo_password"} & set(mistake.path):
        return mistake
    return msgspec.structs.replace(mistake, message="no password stands in an inventory",
                                   suggestion="ask, {env: NAME}, or {file: PATH}")


def _meanings(found: _File) -> Iterator[Mistake]:
    """What is of the right form and yet wrong."""
    yield from _settings_mistakes(found.vars, ("vars",))
    for kind, named in (("lans", found.lans), ("groups", found.groups)):
        for name, settings in named.items():
            yield from _settings_mistakes(settings, (kind, name))
    seen: dict[tuple[str, int], str] = {}
    names: dict[str, str] = {}
    for name, cluster in found.clusters.items():
        path: tuple[str, ...] = ("clusters", name)
        if not _NAME.fullmatch(name):
            yield Mistake(path, f"{name!r} is no name for a cluster", "lower-case letters, digits, hyphens", True)
        if cluster.lan and cluster.lan not in found.lans:
            yield Mistake((*path, "lan"), f'there is no LAN "{cluster.lan}"', nearest(cluster.lan, found.lans))
        if len(cluster.nodes) > LARGEST_CLUSTER:
            yield Mistake((*path, "nodes"), f"more than {LARGEST_CLUSTER} machines")
        yield from _settings_mistakes(cluster.vars, (*path, "vars"))
        yield from _machine_mistakes(found, name, seen, names)


def _machine_mistakes(found: _File, cluster: str, seen: dict[tuple[str, int], str],
                      names: dict[str, str]) -> Iterator[Mistake]:
    for name, machine in found.clusters[cluster].nodes.items():
        path = ("clusters", cluster, "nodes", name)
        if not _NAME.fullmatch(name):
            yield Mistake(path, f"{name!r} is no name for a node", "lower-case letters, digits, hyphens", True)
        if name in names and names[name] != cluster:
            yield Mistake(path, f'the node "{name}" is in the cluster {names[name]} too', "give it another name", True)
        names.setdefault(name, cluster)
        yield from _settings_mistakes(machine, path)
        for index, group in enumerate(machine.groups):
            if group not in found.groups:
                yield Mistake((*path, "groups", index), f'there is no group "{group}"', nearest(group, found.groups))
        for field in ("host", "address"):
            value = getattr(machine, field)
            if value and not _ADDRESS.fullmatch(value):
                yield Mistake((*path, field), f"{value!r} is no address", "an IP address or a host name")
        if machine.local:
            continue
        if not machine.host:
            yield Mistake(path, 'the key "host" is missing', "an address; or local: true for this machine", True)
            continue
        port = _merged(found, cluster, machine).get("port") or 22
        other = seen.setdefault((machine.host.lower(), port), name)
        if other != name:
            yield Mistake((*path, "host"), f"{machine.host} is the node {other} already", "each machine once")


def _settings_mistakes(settings: Settings, path: tuple[str, ...]) -> Iterator[Mistake]:
    if settings.user is not None and not _USER.fullmatch(settings.user):
        yield Mistake((*path, "user"), f"{settings.user!r} is no user's name")
    if settings.port is not None and not 0 < settings.port < 65536:
        yield Mistake((*path, "port"), f"{settings.port} is no port", "1 to 65535")
    for field in ("password", "passphrase", "sudo_password"):
        source = getattr(settings, field)
        if isinstance(source, Source) and bool(source.env) == bool(source.file):
            yield Mistake((*path, field), "where is it read from?", "{env: NAME} or {file: PATH}, one of them")
    for field in ("prefix", "home"):
        folder = getattr(settings, field)
        if folder is not None and (not _FOLDER.fullmatch(folder) or {".", ".."} & set(folder.split("/"))):
            yield Mistake((*path, field), f"{folder!r} is no folder", "an absolute path of letters, digits, . _ -")
        elif folder is not None and folder.strip("/") in _SYSTEM:
            yield Mistake((*path, field), f"{folder} belongs to the system", f"a folder of its own: {folder}/arint")
    yield from _wish_mistakes(settings, path)
    for index, hop in enumerate(hops(settings.jump)):
        if hop_parts(hop) is None:
            inner: tuple[int, ...] = (index,) if isinstance(settings.jump, list) else ()
            yield Mistake((*path, "jump", *inner), f"{hop!r} is no machine to jump over", "user@host:port")


def _wish_mistakes(settings: Settings, path: tuple[str, ...]) -> Iterator[Mistake]:
    for key, value in (settings.labels or {}).items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_KEY.fullmatch(value):
            yield Mistake((*path, "labels", key), f"{key}={value} is no label", "letters, digits, and - _ . between")
    if settings.roles is not None and not settings.roles:
        yield Mistake((*path, "roles"), "no role", "server, worker, edge")
    if settings.capacity is not None:
        try:
            _capacity(settings.capacity)
        except (ValueError, KeyError):
            yield Mistake((*path, "capacity", "memory"), f"{settings.capacity.memory!r} is no size", "such as 4GiB")
        if settings.capacity.cpu < 0:
            yield Mistake((*path, "capacity", "cpu"), "less than nothing")


def hops(jump: str | list[str] | None) -> list[str]:
    """The machines to jump over, in their order."""
    if jump is None:
        return []
    words = jump.split(",") if isinstance(jump, str) else jump
    return [word.strip() for word in words if word.strip()]


def hop_parts(hop: str) -> tuple[str, str, int] | None:
    """User (may be empty), host and port (0: none was named) of `user@host:port`; None for anything else."""
    match = re.fullmatch(r"(?:([^@:\s]+)@)?(\[[0-9A-Fa-f:.]+\]|[^@:\s\[\]]+)(?::([0-9]{1,5}))?", hop)
    if match is None or not _ADDRESS.fullmatch(match[2].strip("[]")):
        return None
    if match[1] and not _USER.fullmatch(match[1]):
        return None
    port = int(match[3] or 0)
    return (match[1] or "", match[2].strip("[]"), port) if port < 65536 else None


def _merged(found: _File, cluster: str, machine: Machine) -> dict[str, Any]:
    """The settings of a machine, nearest last."""
    of = found.clusters[cluster]
    levels = [found.vars, found.lans.get(of.lan, Settings()), of.vars,
              *(found.groups[name] for name in machine.groups if name in found.groups), machine]
    merged: dict[str, Any] = {}
    labels: dict[str, str] = {"lan": of.lan} if of.lan else {}
    for level in levels:
        for field in Settings.__struct_fields__:
            value = getattr(level, field)
            if field == "labels":
                labels |= value or {}
            elif value is not None:
                merged[field] = value
    return merged | {"labels": labels}


def _hosts(found: _File, root: Node, file: str) -> Iterator[Host]:
    for cluster, of in found.clusters.items():
        for node, machine in of.nodes.items():
            mark = root.locate(("clusters", cluster, "nodes", node), key=True)
            settings = _merged(found, cluster, machine)
            settings["jump"] = tuple(hops(settings.get("jump")))
            if "capacity" in settings:
                settings["capacity"] = _capacity(settings["capacity"])
            yield Host(cluster=cluster, node=node, host=machine.host, address=machine.address or machine.host,
                       place=f"{file}:{mark.line}", lan=of.lan, local=machine.local, **settings)


def _capacity(amount: Amount) -> Capacity:
    return Capacity(cpu=amount.cpu, memory=octets(amount.memory) if amount.memory else 0)
