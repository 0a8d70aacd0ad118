"""`python faststream_work.py COUNT`: fill the stream that FastStream reads. Its worker imports this file."""

from __future__ import annotations

import asyncio
import os
import sys

import nats
from faststream import FastStream
from faststream.nats import JStream, NatsBroker, PullSub

ADDRESS = f"nats://127.0.0.1:{os.environ['PEER_PORT']}"
broker = NatsBroker(ADDRESS)
app = FastStream(broker)
incoming, outgoing = JStream("PEER-IN", subjects=["peer.in"]), JStream("PEER-OUT", subjects=["peer.out"])


@broker.subscriber("peer.in", stream=incoming, durable="work", pull_sub=PullSub(batch_size=100))
@broker.publisher("peer.out", stream=outgoing)
async def trivial(body: bytes) -> bytes:
    return body


async def fill(count: int) -> None:
    """With the plain client: the broker object above would begin to work at what it stores."""
    client = await nats.connect(ADDRESS)
    stream = client.jetstream()
    for name in ("in", "out"):
        await stream.add_stream(name=f"PEER-{name.upper()}", subjects=[f"peer.{name}"])
    for done in range(0, count, 500):
        await asyncio.gather(*(stream.publish("peer.in", b"x" * 1000) for _ in range(min(500, count - done))))
    await client.close()


if __name__ == "__main__":
    asyncio.run(fill(int(sys.argv[1])))
