"""The lab itself: its machines are bare and reached, its cables do what is said, and it leaves nothing behind."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.lab import FOLDER, Lab
from tests.lab.machine import PASSWORD, Machine


@pytest.fixture(scope="module")
def machines(lab: Callable[..., Lab]) -> Iterator[Lab]:
    with lab(count=3) as opened:
        yield opened


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "machines" in request.fixturenames:
        for machine in request.getfixturevalue("machines"):
            machine.heal()


def ping(source: Machine, target: Machine, *, count: int = 3) -> tuple[float, float]:
    """The part of the answers that came, and the fastest in milliseconds."""
    told = source.run(["ping", "-n", "-q", "-i", "0.05", "-W", "1", "-c", str(count), target.address], check=False)
    lost = re.search(r"([\d.]+)% packet loss", told)
    fastest = re.search(r"= ([\d.]+)/", told)
    assert lost is not None
    return 1 - float(lost[1]) / 100, float(fastest[1]) if fastest else 0.0


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def left_of(number: int) -> list[str]:
    """Namespaces, devices, files and processes of a lab."""
    words = [*subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout.splitlines(),
             *(f"{path.name}-" for path in Path("/sys/class/net").glob("arint-lab*"))]
    left = [word for word in words if word.startswith(f"arint-lab{number}-")]
    left += [str(path) for path in FOLDER.glob(str(number))]
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"DISK={FOLDER}/{number}/".encode() in file.read_bytes():
                left.append(str(file))
        except OSError:
            continue
    return left


def test_each_machine_is_reached_by_ssh_and_is_bare(machines: Lab) -> None:
    for machine in machines:
        assert machine.ssh(["hostname"]).strip() == machine.name
        assert machine.ssh(["command -v python3 || echo none"]).strip() == "none"
        assert "default" not in machine.ssh(["ip route"])  # so no internet
        assert machine.run(["ps", "-o", "pid=", "-p", "1"]).strip() == "1"


def test_users_with_and_without_sudo(machines: Lab) -> None:
    sudo = "sudo -S -k -p '' id -u"
    assert machines[0].run(["su", "ops", "-c", sudo], text=f"{PASSWORD}\n").strip() == "0"
    assert machines[0].run(["su", "plain", "-c", sudo], text=f"{PASSWORD}\n", check=False).strip() == ""


@pytest.mark.parametrize("switched", [True, False])
def test_a_password_is_asked_for_where_it_is_switched_on(lab: Callable[..., Lab], switched: bool) -> None:
    with lab(count=1, password_login=switched) as (machine,):
        told = subprocess.run([*machine.ssh_words("ops"), "-i", "/dev/null", "-v", "true"], capture_output=True,
                              text=True, check=False, timeout=20).stderr
        offered = re.findall(r"Authentications that can continue: (\S+)", told)
        assert offered
        assert ("password" in offered[-1].split(",")) is switched


def test_a_delay_is_seen_and_healed(machines: Lab) -> None:
    machines[1].delay(20)
    arrived, fastest = ping(machines[0], machines[1])
    assert arrived == 1
    assert fastest >= 40
    machines[1].heal()
    assert ping(machines[0], machines[1])[1] < 20


def test_bytes_come_whole_over_a_slow_and_lossy_cable(machines: Lab) -> None:
    machines[1].delay(2)
    machines[1].lose(1)
    sent = "0123456789abcdef" * 60_000
    assert machines[1].ssh(["cat"], text=sent) == sent


def test_a_lossy_cable_loses_some(machines: Lab) -> None:
    ping(machines[0], machines[2])  # where the other is, is known then: asking for that once a second would be lost too
    machines[2].lose(50)
    arrived, _ = ping(machines[0], machines[2], count=40)
    assert 0 < arrived < 1


def test_a_cut_is_silent_and_only_that_machines(machines: Lab) -> None:
    machines[1].cut()
    assert ping(machines[0], machines[1])[0] == 0
    assert ping(machines[0], machines[2])[0] == 1
    machines[1].heal()
    assert ping(machines[0], machines[1])[0] == 1


def test_what_was_written_outlives_a_power_loss(machines: Lab) -> None:
    machine = machines[2]
    machine.run(["sh", "-c", "echo kept > /root/file; sync"])
    machine.power_off()
    machine.power_on()
    machine.wait_ready()
    assert machine.ssh(["cat /root/file"]).strip() == "kept"


def test_nothing_is_left_behind(lab: Callable[..., Lab]) -> None:
    with lab(count=2) as machines:
        machines[0].delay(1)
        number = machines.number
        assert left_of(number)
    until(lambda: not left_of(number))


def test_what_a_killed_lab_left_is_swept_by_the_next(lab: Callable[..., Lab]) -> None:
    child = subprocess.Popen([sys.executable, "-m", "tests.lab", "--count", "1"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    number = int(child.stdout.readline().split()[1].split(".")[2])
    child.kill()
    child.wait(timeout=10)
    until(lambda: not [entry for entry in left_of(number) if entry.startswith("/proc")])
    with lab(count=1) as machines:
        assert machines.number == number or not left_of(number)
        assert machines[0].ssh(["true"]) == ""
    until(lambda: not left_of(number))


def test_a_lab_by_hand_ends_when_told(lab: Callable[..., Lab]) -> None:
    child = subprocess.Popen([sys.executable, "-m", "tests.lab", "--count", "1"], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    number = int(child.stdout.readline().split()[1].split(".")[2])
    child.terminate()
    assert child.wait(timeout=20) == 0
    until(lambda: not left_of(number))


def test_a_machine_with_systemd(lab: Callable[..., Lab]) -> None:
    with lab(count=1, systemd=True) as (machine,):
        assert machine.ssh(["systemctl is-system-running --wait || true"]).strip() in ("running", "degraded")
        assert machine.ssh(["systemctl is-active ssh"]).strip() == "active"
