"""What a killed process had in hand is delivered again at once: here no time would ever bring it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from arint.bus import streams
from arint.bus.committer import Committer
from arint.bus.connection import Bus
from arint.bus.consumer import PullConsumer
from arint.bus.in_hand import SLOT, SLOTS, InHand
from arint.bus.incoming import Incoming
from arint.errors import ConflictError
from tests.patience import PATIENCE

NEVER = 3600.0
HOLDER = """
import sys
from arint.bus.in_hand import InHand
hand = InHand(__import__("pathlib").Path(sys.argv[1]))
slots = [hand.take(b"reply.%d" % number) for number in range(5)]
hand.let_go(slots[1])
hand.let_go(slots[3])
print("holds", flush=True)
sys.stdin.read()
"""


def test_what_was_in_hand_outlives_a_kill_and_nobody_else_may_have_it_before(tmp_path: Path) -> None:
    file = tmp_path / "price-1.hand"
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        with pytest.raises(ConflictError):
            InHand(file)
        os.kill(process.pid, signal.SIGKILL)
    after = InHand(file)
    assert after.left == [b"reply.0", b"reply.2", b"reply.4"]
    after.given_back()
    assert after.left == []
    after.close()
    assert not file.exists()


def test_more_than_there_is_room_for_is_not_remembered(tmp_path: Path) -> None:
    hand = InHand(tmp_path / "x.hand")
    slots = [hand.take(b"%d" % number) for number in range(SLOTS + 2)]
    assert len(set(slots[:SLOTS])) == SLOTS
    assert slots[SLOTS:] == [-1, -1]
    for slot in slots:
        hand.let_go(slot)
    assert hand.take(b"x" * SLOT) == -1
    assert hand.take(b"x" * (SLOT - 2)) != -1
    hand.close()


def test_nonsense_in_the_file_is_not_read_as_subjects(tmp_path: Path) -> None:
    file = tmp_path / "x.hand"
    file.write_bytes(b"\xff" * 5000)
    assert InHand(file).left == []


async def test_the_next_process_gives_back_what_the_killed_one_had(bus, nats_server, settings, until,
                                                                  tmp_path: Path) -> None:
    await streams.ensure_flow(bus, "orders", max_bytes=64 * 2**20)
    held: list[Incoming] = []
    dying = InHand(tmp_path / "price-1.hand")
    async with await Bus.connect(settings(nats_server)) as its_bus:
        first = PullConsumer(its_bus, "orders", "start", held.append, ack_wait=NEVER, in_hand=dying)
        await first.start()
        committer = Committer(bus, "F-orders")
        await asyncio.gather(*(committer.store(f"m.{n}.{n}.0.orders.start", b"%d" % n, {}) for n in range(10)))
        await committer.close()
        await until(lambda: len(held) == 10)
        for incoming in held[:4]:
            incoming.ack()
        (tmp_path / "price-1.hand").rename(tmp_path / "killed.hand")  # its lock is this process's own
        (tmp_path / "price-1.hand").write_bytes((tmp_path / "killed.hand").read_bytes())

    left = InHand(tmp_path / "price-1.hand").left
    assert sorted(left) == sorted(incoming.reply for incoming in held[4:])
    got: dict[bytes, int] = {}

    def take(incoming: Incoming) -> None:
        got[incoming.body] = incoming.delivered
        incoming.ack()

    second = PullConsumer(bus, "orders", "start", take, ack_wait=NEVER)
    await second.start()
    for reply in [*left, held[0].reply]:  # one that was acked is nobody's any more
        bus.publish(reply.decode(), b"-NAK")
    await until(lambda: len(got) == 6, PATIENCE)
    assert got == {b"%d" % n: 2 for n in range(4, 10)}
    await second.stop()
