"""The cable of a machine: whole, slow, lossy or cut.

Where the kernel has netem, netem does it. Where not, the cable is taken apart and a process of ours passes the frames
on. A cut is silent in both cases: frames vanish, and no side is told.
"""

from __future__ import annotations

import random
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from typing import NamedTuple

_ALL = 0x0003
_SOL_PACKET, _IGNORE_OUTGOING = 263, 23
_MOST_UNDER_WAY = 100_000
_ETHTOOL = 0x8946
_OFFLOADS = (0x17, 0x1F, 0x21, 0x25, 0x2C)  # tx checksums, TSO, UFO, GSO, GRO: frames must be whole and small


class Ends(NamedTuple):
    """The machine's network, and the switch's with the name of its port; the machine's device is eth0."""

    machine: str
    switch: str
    port: str


class Cable:
    """Between a machine and the switch; `shape` says what becomes of frames from now on."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self._between: subprocess.Popen[bytes] | None = None

    def shape(self, delay: float, loss: float) -> None:
        """Each way: `delay` in milliseconds, `loss` in percent."""
        if loss >= 100:
            self._each_end("blackhole")
        elif not (delay or loss):
            self._whole()
            self._take_out()
        elif not self._netem(delay, loss):
            self._whole()
            self._pass_on(delay, loss)

    def close(self) -> None:
        """End the process between, if there is one."""
        if self._between is not None:
            self._between.kill()
            self._between.wait(timeout=10)
            self._between = None

    def _each_end(self, *discipline: str) -> bool:
        done = [_did("tc", "-n", network, "qdisc", "replace", "dev", device, "root", *discipline)
                for network, device in self._devices()]
        return all(done)

    def _whole(self) -> None:
        for network, device in self._devices():
            _did("tc", "-n", network, "qdisc", "delete", "dev", device, "root")

    def _netem(self, delay: float, loss: float) -> bool:
        return self._each_end("netem", "limit", str(_MOST_UNDER_WAY), "delay", f"{delay:g}ms", "loss", f"{loss:g}%")

    def _devices(self) -> tuple[tuple[str, str], tuple[str, str]]:
        return (self.ends.machine, "eth0"), (self.ends.switch, self.ends.port)

    def _pass_on(self, delay: float, loss: float) -> None:
        """Put our process between the cable and the switch."""
        _, switch, port = self.ends
        if self._between is None:
            outer, inner = f"{port}-sw", f"{port}-in"
            _must("ip", "-n", switch, "link", "add", outer, "type", "veth", "peer", "name", inner)
            _must("nsenter", f"--net=/run/netns/{self.ends.machine}", sys.executable, __file__, "offload", "eth0")
            _must("ip", "-n", switch, "link", "set", inner, "up")
            _must("ip", "-n", switch, "link", "set", port, "nomaster")
            _must("ip", "-n", switch, "link", "set", outer, "master", "lan", "up")
            self._between = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{switch}", sys.executable, __file__,
                 "between", port, inner, outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._between.stdin is not None
        assert self._between.stdout is not None
        self._between.stdin.write(f"{delay} {loss}\n".encode())
        self._between.stdin.flush()
        if self._between.stdout.readline() != b"ok\n":
            raise AssertionError(f"frames are not passed on between {port} and the switch")

    def _take_out(self) -> None:
        if self._between is not None:
            self.close()
            _must("ip", "-n", self.ends.switch, "link", "delete", f"{self.ends.port}-sw")
            _must("ip", "-n", self.ends.switch, "link", "set", self.ends.port, "master", "lan")


def _did(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, check=False, timeout=10).returncode == 0


def _must(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=10)


def _between(*names: str) -> None:
    """Pass frames from each of the first two devices to the other, as the lines on stdin say."""
    for name in names:
        _offload(name)
    left, right = (_raw(name) for name in names[:2])
    other = {left: right, right: left}
    under_way: deque[tuple[float, socket.socket, bytes]] = deque()
    delay = loss = 0.0
    with selectors.DefaultSelector() as selector:
        for file in (left, right, sys.stdin):
            selector.register(file, selectors.EVENT_READ)
        while True:
            wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
            for key, _ in selector.select(wait):
                source = key.fileobj
                if not isinstance(source, socket.socket):
                    words = sys.stdin.readline().split()
                    if not words:
                        return
                    delay, loss = float(words[0]) / 1000, float(words[1]) / 100
                    sys.stdout.write("ok\n")
                    sys.stdout.flush()
                    continue
                frame = source.recv(65536)
                if len(under_way) < _MOST_UNDER_WAY and random.random() >= loss:
                    under_way.append((time.monotonic() + delay, other[source], frame))
            now = time.monotonic()
            while under_way and under_way[0][0] <= now:
                _, target, frame = under_way.popleft()
                try:
                    target.send(frame)
                except OSError:
                    continue  # a full queue or a device that goes: a lost frame, as on a real cable


def _raw(name: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 2**20)
    raw.bind((name, _ALL))
    return raw


def _offload(name: str) -> None:
    """Have the kernel finish its frames itself: nothing after this device does it for them."""
    import array
    import fcntl
    import struct
    from contextlib import suppress

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in _OFFLOADS:
            value = array.array("B", struct.pack("II", command, 0))
            with suppress(OSError):  # what a device does not have, it does not do
                fcntl.ioctl(control, _ETHTOOL, struct.pack("16sP16x", name.encode(), value.buffer_info()[0]))


if __name__ == "__main__":
    {"between": _between, "offload": _offload}[sys.argv[1]](*sys.argv[2:])
