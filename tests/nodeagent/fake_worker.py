"""A worker that speaks the control protocol and does what its service's config says, without a bus.

It writes the orders that it gets to HOME/data/<instance>.orders, so that a test can see them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from arint.home import Home
from arint.meters.meter import Counter
from arint.runtime.agent_link import AgentLink
from arint.runtime.control import Beat, Orders
from arint.runtime.holding import Deadline

THINGS = Counter("arint_test_things_total", "Things.", ("flow",))


class FakeWorker:
    def __init__(self, home: Home, instance: str) -> None:
        self.home = home
        self.instance = instance
        self.state = "starting"
        self.change_set = 0
        self.error = ""
        self.leave = asyncio.Event()
        self.link = AgentLink(home.socket, instance, on_orders=self.take, on_drain=self.drain,
                              on_hold=Deadline(lambda: self.drain(0.0)).hold, beat=self.beat)

        THINGS.at("orders").add(3)

    async def take(self, orders: Orders) -> None:
        file = self.home.data / f"{self.instance}.orders"
        temporary = file.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(msgspec.json.encode(orders))
        temporary.rename(file)
        behave = orders.service.config.get("behave", "ready") if orders.service is not None else "ready"
        print(f"{self.instance} behaves: {behave}", flush=True)
        if behave == "exit":
            sys.exit("this service does not like it here")
        self.state = "failed" if behave == "fail" else "ready"
        self.error = "Traceback: no module named nowhere" if behave == "fail" else ""
        self.change_set = orders.change_set
        self.link.hurry()

    def drain(self, grace: float) -> None:
        self.leave.set()

    def beat(self) -> Beat:
        return Beat(state=self.state, change_set=self.change_set, processed=7, error=self.error)  # type: ignore[arg-type]

    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.leave.set)
        link = asyncio.create_task(self.link.run())
        waiting = asyncio.create_task(self.leave.wait())
        done, _ = await asyncio.wait((link, waiting), return_when=asyncio.FIRST_COMPLETED)
        for task in done - {waiting}:
            task.result()
        link.cancel()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--instance", required=True)
    arguments = parser.parse_args()

    async def run() -> None:
        await FakeWorker(Home(arguments.home), arguments.instance).run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
