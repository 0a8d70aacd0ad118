"""The whole store as one file, as etcd's own tools restore it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
from aetcd import rpc

from arint.errors import TimedOutError
from arint.store.connection import Etcd
from arint.store.failures import failure

STALLED = 30.0


async def copy_out(etcd: Etcd, write: Callable[[bytes], None]) -> None:
    """Give a snapshot to `write`, piece by piece; its last 32 bytes are etcd's own digest of it.

    Raises TimedOutError where it stalls, and what reads raise.
    """
    endpoint = await etcd.endpoints.ready(etcd.timeout)
    call = endpoint.maintenance.Snapshot(rpc.SnapshotRequest())
    try:
        while True:
            async with asyncio.timeout(STALLED):
                reply = await call.read()
            if reply is grpc.aio.EOF:
                return
            write(reply.blob)
    except TimeoutError:
        raise TimedOutError(f"the snapshot stood still for {STALLED:g} s", where=f"etcd {endpoint.address}",
                            remedy="run it again") from None
    except grpc.aio.AioRpcError as error:
        raise failure(error, f"etcd {endpoint.address}", write=False) from error
    finally:
        call.cancel()
