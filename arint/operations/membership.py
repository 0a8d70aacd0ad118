"""How a machine becomes a node of a cluster that runs, in three documents, each carried by whoever can reach both.

    on the machine    request -> JoinRequest    its keys are made and stay there; nothing of the cluster is in it
    on a server       admit   -> JoinDocument   checked, signed, and the node is recorded
    on the machine    join                      node.json and certificates; then its agent can be started

All are idempotent: what broke off is done again. A document of the second kind holds the key ring of secrets: it goes
over SSH or by hand, never over a channel that others read.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import msgspec

from arint.administration.registry import administrative, at_home
from arint.errors import ConflictError, NotFoundError, NotValidError
from arint.home import Home, Member, NodeConfig
from arint.operations.connect import Link
from arint.ports import Ports, choose_ports, claims
from arint.registry.records import Capacity, NodeRecord, Role
from arint.version import VERSION

if TYPE_CHECKING:
    from arint.store.connection import Etcd
    from arint.store.transactions import KeyValue

FORMAT = 1
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a new node shall be. `host` is the address by which the others reach it."""

    cluster: str
    node: str
    host: str
    roles: tuple[Role, ...] = ("worker",)
    labels: dict[str, str] = {}
    capacity: Capacity = Capacity()


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node that wants to join, and the public halves of its keys: a signing request (PEM) for each identity."""

    format: int = FORMAT
    release: str
    asked: Asked
    ports: Ports
    requests: dict[str, str]


class JoinDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that the node needs from its cluster: whom to dial, whom to trust, its certificates, the ring of secrets."""

    format: int = FORMAT
    release: str
    asked: Asked
    ports: Ports
    fsync: bool
    members: dict[str, Member]
    cas: dict[str, str]
    certificates: dict[str, str]
    ring: str

    def __repr__(self) -> str:
        return f"JoinDocument({self.asked.node!r} of {self.asked.cluster!r})"


class Joined(msgspec.Struct, frozen=True):
    """The node that this home is from now on. `changed`: it was not before."""

    cluster: str
    node: str
    home: str
    changed: bool


def request(home: Home, asked: Asked) -> JoinRequest:
    """Make the home with its keys. Raises ConflictError where another node, or another cluster's, was set up here."""
    from arint.security.requests import make_requests

    _check(asked)
    config = _earlier(home, asked)
    home.make_folders()
    if config is not None:
        ports = config.ports
    else:
        with claims(home.port_claims()) as claim:
            ports = choose_ports(asked.host, claim=claim)
    return JoinRequest(release=VERSION, asked=asked, ports=ports, requests=make_requests(home))


@at_home
async def admit(link: Link, wanted: JoinRequest) -> JoinDocument:
    """Record the node and sign for it. Run where the CA's keys are: on a server of the cluster.

    Raises ConflictError where the name or the address is another machine's, NotValidError for another cluster, release
    or format.
    """
    from arint.operations.shutting_out import refuse_revoked
    from arint.security.requests import read_cas, sign_requests
    from arint.security.sealing import ring_file
    from arint.store.access import admit_node
    from arint.store.keys import Keys

    asked, config = wanted.asked, link.config
    _check(asked)
    if wanted.format != FORMAT:
        raise NotValidError(f"the request has format {wanted.format}; this release reads {FORMAT}", where=asked.node,
                            remedy=f"install release {VERSION} there")
    if asked.cluster != config.cluster:
        raise NotValidError(f"the request is for the cluster {asked.cluster}, and this is {config.cluster}",
                            where=asked.node, remedy="ask a server of that cluster")
    certificates = sign_requests(link.home, wanted.requests, asked.node)
    etcd = await link.etcd()
    await refuse_revoked(etcd, Keys(config.cluster), "node", asked.node)
    await _record(etcd, wanted, config.cluster)
    await admit_node(etcd, config.cluster, asked.node)
    members = {config.node: Member(config.host, config.ports), **config.members}
    return JoinDocument(release=VERSION, asked=asked, ports=wanted.ports, fsync=config.fsync, members=members,
                        cas=read_cas(link.home), certificates=certificates, ring=ring_file(link.home).read_text())


def join(home: Home, document: JoinDocument) -> Joined:
    """Make this home the node of the document.

    Raises ConflictError as `request`, NotValidError for certificates that are not right.
    """
    from arint.home import write_private
    from arint.security.requests import take_certificates
    from arint.security.sealing import ring_file

    asked = document.asked
    _check(asked)
    before = _earlier(home, asked)
    home.make_folders()
    take_certificates(home, asked.node, document.cas, document.certificates)
    write_private(ring_file(home), document.ring.encode())
    config = NodeConfig(version=VERSION, cluster=asked.cluster, node=asked.node, host=asked.host, roles=asked.roles,
                        labels=asked.labels, capacity=asked.capacity, ports=document.ports, fsync=document.fsync,
                        members=document.members, created=before.created if before is not None else time.time())
    if config != before:
        home.save(config)
    return Joined(config.cluster, config.node, str(home.path), config != before)


@administrative("administrator")
async def forget(link: Link, node: str) -> None:
    """Remove a node from the cluster's records, and let it in no more; what it runs is placed elsewhere.

    Raises NotFoundError, or ConflictError for a node that lives, or the server by which this is done.
    """
    from arint.store.access import dismiss_node
    from arint.store.keys import Keys
    from arint.store.transactions import absent, delete, mod_revision_is

    keys, etcd = Keys(link.config.cluster), await link.etcd()
    if node == link.config.node:
        raise ConflictError("this is the node itself", where=node, remedy="forget it from another server")
    found = await etcd.get(keys.node(node))
    if found is None:
        raise NotFoundError(f"there is no node {node!r}", remedy="arintctl node list")
    result = await etcd.txn([mod_revision_is(keys.node(node), found.mod_revision), absent(keys.alive(node))],
                            [delete(keys.node(node)), delete(keys.certificates(node))])
    if not result.succeeded:
        raise ConflictError("the node lives", where=node,
                            remedy=f"arintctl node drain {node}, then stop its agent: arintctl down, on that machine")
    await dismiss_node(etcd, node)


def _check(asked: Asked) -> None:
    for name, value in (("cluster", asked.cluster), ("node", asked.node)):
        if not _LABEL.fullmatch(value):
            raise NotValidError(f"{value!r} is no name for a {name}", where=name,
                                remedy="a DNS label: lower-case letters, digits, hyphens")
    if not asked.host or any(letter.isspace() for letter in asked.host):
        raise NotValidError(f"{asked.host!r} is no address", where="host", remedy="an IP address or a host name")
    if not asked.roles:
        raise NotValidError("the node has no role", where=asked.node, remedy="such as worker")
    if "server" in asked.roles:
        raise NotValidError("a server cannot join a cluster that runs yet", where=asked.node,
                            remedy="let it join as a worker")


def _earlier(home: Home, asked: Asked) -> NodeConfig | None:
    """The configuration of this very node, if it was set up here before."""
    if not home.exists:
        return None
    config = home.load()
    if (config.cluster, config.node) != (asked.cluster, asked.node):
        raise ConflictError(f"this home is node {config.node} of cluster {config.cluster}", where=str(home.path),
                            remedy="name another home, or remove this one: arintctl down --purge")
    return config


async def _record(etcd: Etcd, wanted: JoinRequest, cluster: str) -> None:
    """Write the node's record, unless another machine has its name or its address with the same ports."""
    from arint.store.keys import Keys
    from arint.store.transactions import absent, mod_revision_is, put

    asked, keys = wanted.asked, Keys(cluster)
    while True:
        found, _ = await etcd.range(keys.nodes_prefix)
        records = {msgspec.json.decode(one.value, type=NodeRecord).name: one for one in found}
        for name, kv in records.items():
            _refuse_other(name, msgspec.json.decode(kv.value, type=NodeRecord), wanted)
        before: KeyValue | None = records.get(asked.node)
        record = NodeRecord(name=asked.node, release=wanted.release, host=asked.host, roles=asked.roles,
                            ports=wanted.ports, labels=asked.labels, capacity=asked.capacity)
        if before is not None:
            known = msgspec.json.decode(before.value, type=NodeRecord)
            record = msgspec.structs.replace(known, release=wanted.release, roles=asked.roles, ports=wanted.ports,
                                             capacity=asked.capacity)
        key = keys.node(asked.node)
        compare = mod_revision_is(key, before.mod_revision) if before is not None else absent(key)
        if (await etcd.txn([compare], [put(key, msgspec.json.encode(record))])).succeeded:
            return


def _refuse_other(name: str, record: NodeRecord, wanted: JoinRequest) -> None:
    asked = wanted.asked
    if name == asked.node and record.host != asked.host:
        raise ConflictError(f"the cluster has a node {name} already, at {record.host}", where=asked.host,
                            remedy=f"choose another name, or if that machine is gone: arintctl node forget {name}")
    if name != asked.node and record.host == asked.host and record.ports == wanted.ports:
        raise ConflictError(f"that machine is node {name} already", where=asked.host,
                            remedy=f"arintctl node list; to give it another name: arintctl node forget {name}")
