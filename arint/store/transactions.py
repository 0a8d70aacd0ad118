"""What is read from etcd, and the parts of a transaction: compares and operations."""

from __future__ import annotations

from typing import Any

import msgspec
from aetcd import rpc

MAX_OPERATIONS = 100
"""At most so many compares or operations in a transaction; etcd's own limit is 128."""
MAX_BYTES = 2 * 2**20
"""Keep requests below this: etcd takes 4 MiB here, and a smaller one holds up the others less."""


class KeyValue(msgspec.Struct, frozen=True):
    """A key as etcd has it; `lease` is 0 without one, `version` counts its changes since it was made."""

    key: str
    value: bytes
    create_revision: int = 0
    mod_revision: int = 0
    lease: int = 0
    version: int = 0


class Deleted(msgspec.Struct, frozen=True):
    """How many keys an operation deleted."""

    count: int


class TxnResult(msgspec.Struct, frozen=True):
    """`responses` has one entry an operation: None for a put, the keys found for a get, Deleted for a delete."""

    succeeded: bool
    revision: int
    responses: tuple[list[KeyValue] | Deleted | None, ...] = ()

    def found(self, index: int = 0) -> KeyValue | None:
        """What the get at `index` found."""
        response = self.responses[index]
        return response[0] if isinstance(response, list) and response else None


Compare = Any
Operation = Any


def mod_revision_is(key: str, revision: int) -> Compare:
    """True if the key was last changed at `revision`; 0: it is not there."""
    return rpc.Compare(key=key.encode(), target=rpc.Compare.MOD, result=rpc.Compare.EQUAL, mod_revision=revision)


def create_revision_is(key: str, revision: int) -> Compare:
    """True if the key was made at `revision` and has been there since: the fence of elections and owners."""
    return rpc.Compare(key=key.encode(), target=rpc.Compare.CREATE, result=rpc.Compare.EQUAL,
                       create_revision=revision)


def absent(key: str) -> Compare:
    """True if there is no such key."""
    return create_revision_is(key, 0)


def present(key: str) -> Compare:
    """True if there is such a key."""
    return rpc.Compare(key=key.encode(), target=rpc.Compare.CREATE, result=rpc.Compare.GREATER, create_revision=0)


def put(key: str, value: bytes, lease: int = 0) -> Operation:
    """Set a key; with a lease it goes when the lease does."""
    return rpc.RequestOp(request_put=rpc.PutRequest(key=key.encode(), value=value, lease=lease))


def delete(key: str) -> Operation:
    """Delete a key, if it is there."""
    return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key.encode()))


def get(key: str) -> Operation:
    """Read a key."""
    return rpc.RequestOp(request_range=rpc.RangeRequest(key=key.encode()))


def prefix_end(prefix: str) -> bytes:
    """The first key after all that begin with `prefix` (a zero byte: to the very end)."""
    raw = prefix.encode()
    return raw[:-1] + bytes([raw[-1] + 1]) if raw else b"\0"


def read_key_value(kv: Any) -> KeyValue:
    """From the wire. A key that is not UTF-8 is none of ours; it must not break a listing."""
    return KeyValue(kv.key.decode(errors="backslashreplace"), kv.value, kv.create_revision, kv.mod_revision, kv.lease,
                    kv.version)


def read_result(reply: Any) -> TxnResult:
    """From the wire."""
    return TxnResult(reply.succeeded, reply.header.revision, tuple(_read_response(one) for one in reply.responses))


def _read_response(response: Any) -> list[KeyValue] | Deleted | None:
    kind = response.WhichOneof("response")
    if kind == "response_range":
        return [read_key_value(kv) for kv in response.response_range.kvs]
    if kind == "response_delete_range":
        return Deleted(response.response_delete_range.deleted)
    return None
