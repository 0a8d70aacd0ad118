"""`python celery_work.py COUNT`: fill Celery's queue. Its worker imports this file."""

from __future__ import annotations

import os
import sys

from celery import Celery

PORT = os.environ["PEER_PORT"]
app = Celery("celery_work", broker=f"redis://127.0.0.1:{PORT}/0", backend=f"redis://127.0.0.1:{PORT}/1")
app.conf.worker_prefetch_multiplier = 100
app.conf.task_acks_late = True  # as ours: what dies with its worker is done again


@app.task
def trivial(body: str) -> str:
    return body


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        trivial.delay("x" * 1000)
