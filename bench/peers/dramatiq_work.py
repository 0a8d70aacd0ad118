"""`python dramatiq_work.py COUNT`: fill Dramatiq's queue. Its worker imports this file."""

from __future__ import annotations

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

PORT = os.environ["PEER_PORT"]
broker = RedisBroker(url=f"redis://127.0.0.1:{PORT}/0")
broker.add_middleware(Results(backend=RedisBackend(url=f"redis://127.0.0.1:{PORT}/1")))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def trivial(body: str) -> str:
    return body


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        trivial.send("x" * 1000)
