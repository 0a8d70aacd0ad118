"""What the cluster knows of certificates: what is wanted, what each node has, who was shut out. Kept in etcd."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

Round: TypeAlias = int


class Leaf(msgspec.Struct, frozen=True, omit_defaults=True):
    """A certificate of a node. Times are in seconds since the epoch; `ca` is the fingerprint of who signed it."""

    identity: str
    name: str
    serial: str
    begins: float
    expires: float
    ca: str = ""
    problem: str = ""
    """Why it is not accepted; empty where it is good."""


class Report(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a node has. `trusts`: for each CA's file, the fingerprints of those in it.

    `round` is the wanted round that was brought about wholly, its engines included.
    """

    leaves: tuple[Leaf, ...] = ()
    trusts: dict[str, tuple[str, ...]] = {}
    round: Round = 0
    error: str = ""
    due: float = 0.0
    """When the first of them is to be renewed, in seconds since the epoch."""


class Authority(msgspec.Struct, frozen=True):
    """A CA as the nodes shall have it: the certificates (PEM) that they trust, and the fingerprint of who signs."""

    trusted: tuple[str, ...]
    signer: str


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How certificates shall be: written by administrators, followed by agents.

    Each change is a round of its own. `renew` says for a node the round from which its certificates must be;
    `cut` is the round from which connections to etcd must be.
    """

    round: Round = 0
    renew: dict[str, Round] = {}
    cut: Round = 0
    authorities: dict[str, Authority] = {}
    """Those that are being changed, or were: others stand as the homes hold them."""


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whose certificates are valid, and must not let anybody in any more."""

    name: str
    """`node/NAME` or `user/NAME`."""
    serials: tuple[str, ...]
    until: float
    """When the last of them ends, in seconds since the epoch."""
    at: float
    by: str
