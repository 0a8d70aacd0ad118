"""Machines that cannot be reached, that refuse, or are not fit: each is told in plain words, and nothing is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.bootstrap.conftest import Site
from tests.lab.machine import PASSWORD, Machine

pytestmark = pytest.mark.lab
ACCEPT = "--accept-new"


@pytest.fixture(autouse=True)
def bare(site: Site) -> Iterator[None]:
    site.system.environment["LAB_PASSWORD"] = PASSWORD
    site.write()
    yield
    for machine in site.lab:
        machine.heal()
        assert machine.run(["ls", "/opt"]).strip() in ("", "arint")


@contextmanager
def mounted(machine: Machine, folder: str, options: str) -> Iterator[None]:
    machine.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder])
    try:
        yield
    finally:
        machine.run(["umount", folder])


@contextmanager
def instead(machine: Machine, program: str, script: str) -> Iterator[None]:
    """Another program of this name is found first."""
    machine.run(["sh", "-c", f"cat >/usr/local/bin/{program}; chmod 755 /usr/local/bin/{program}"],
                text=f"#!/bin/sh\n{script}\n")
    try:
        yield
    finally:
        machine.run(["rm", f"/usr/local/bin/{program}"])


def test_a_host_key_that_nobody_knows_is_shown_and_one_that_changed_is_refused(site: Site) -> None:
    machine = site.lab[0]
    known = machine.run(["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"]).split()[1]
    assert known.startswith("SHA256:")
    config = site.system.folder / "config/arint/known_hosts"
    before = config.read_text() if config.exists() else ""
    try:
        config.unlink(missing_ok=True)
        assert known in site.refused("m1", code=7)
        site.system.ctl("cluster", "status", "-i", str(site.inventory), ACCEPT)
        assert machine.address in config.read_text()
        other = site.lab[1].address
        lines = [line for line in config.read_text().splitlines() if line.startswith(other)]
        config.write_text("".join(f"{line.replace(other, machine.address)}\n" for line in lines))
        told = site.refused("m1", ACCEPT, code=7)
        assert "HOST KEY HAS CHANGED" in told and f"ssh-keygen -R '{machine.address}' -f {config}" in told
    finally:
        config.write_text(before)


def test_who_is_not_reached_or_not_let_in_does_not_stop_the_others(site: Site) -> None:
    site.lab[1].run(["sh", "-c", "mv /root/.ssh/authorized_keys /root/.ssh/away"])
    try:
        site.inventory.write_text(site.inventory.read_text() + "      gone: {host: 127.0.0.1, port: 1}\n")
        told = site.refused("--dry-run", ACCEPT, code=1)
        assert "m2" in told and "does not let root in" in told
        assert "gone: root@127.0.0.1:1: it is not reached by SSH: Connection refused" in told
        assert "m1:" not in told
        site.write("user: root, password: {env: LAB_PASSWORD}")
        assert "does not let root in" in site.refused("m2", "--dry-run", ACCEPT, code=7)
    finally:
        site.lab[1].run(["sh", "-c", "mv /root/.ssh/away /root/.ssh/authorized_keys"])


def test_a_cable_that_is_cut_is_unreachable_within_its_time(site: Site) -> None:
    site.lab[0].cut()
    assert "nothing answered within 15 seconds" in site.refused("m1", ACCEPT, code=6)


def test_passwords_of_sudo(site: Site) -> None:
    site.system.environment["WRONG"] = "wrong-secret"
    login = "user: ops, password: {env: LAB_PASSWORD}"
    site.write(f"{login}, sudo_password: {{env: WRONG}}")
    told = site.refused("m1", ACCEPT, code=7)
    assert "sudo does not let ops become root" in told and "wrong-secret" not in told
    site.write(f"{login}, sudo: true")
    assert "sudo wants a password for ops" in site.refused("m1", ACCEPT, code=7)
    site.write("user: plain, password: {env: LAB_PASSWORD}, sudo_password: {env: LAB_PASSWORD}")
    assert "sudo does not let plain become root" in site.refused("m1", ACCEPT, code=7)
    site.write("user: plain, password: {env: NOT_SET}")
    assert "$NOT_SET: the password of plain@" in site.refused("m1", ACCEPT, code=3)
    site.write("user: plain, password: {env: WRONG}")
    assert "does not let plain in" in site.refused("m1", ACCEPT, code=7)
    planned = [site.write(f"{login}, sudo_password: {{env: LAB_PASSWORD}}"),
               site.system.ctl("cluster", "add-node", "m1", "-i", str(site.inventory), "--dry-run", ACCEPT)][1]
    assert "/opt/arint" in planned


def test_every_problem_of_a_machine_at_once(site: Site) -> None:
    machine = site.lab[0]
    with mounted(machine, "/opt", "size=1m"), instead(machine, "date", "/bin/date -d '1 hour ago' \"$@\""), \
            instead(machine, "getconf", "echo glibc 2.17"), mounted(machine, "/var/lib", "ro,size=1m"):
        told = site.refused("m1", ACCEPT, code=8)
    for words in ("m1: its C library is glibc 2.17", "m1: there is too little room for /opt/arint",
                  "m1: /var/lib/arint cannot be written: the file system is read-only", "seconds behind this machine"):
        assert words in told, (words, told)
    with instead(machine, "uname", '[ "$1" = -m ] && echo riscv64 || echo Linux'):
        assert "it is linux on riscv64, and the bundle is for linux on x86_64" in site.refused("m1", ACCEPT, code=8)


def test_a_machine_of_another_cluster_and_a_strange_home(site: Site) -> None:
    machine = site.lab[0]
    machine.run(["sh", "-c", "mkdir -p /var/lib/arint && cat >/var/lib/arint/node.json"], text=(
        '{"version": "0.1.0", "cluster": "other", "node": "x", "ports": {}, "created": 1}'))
    try:
        assert "it is the node x of cluster other already" in site.refused("m1", ACCEPT, code=8)
        machine.run(["sh", "-c", "echo '{' >/var/lib/arint/node.json"])
        assert "a node.json that cannot be read" in site.refused("m1", ACCEPT, code=8)
    finally:
        machine.run(["rm", "-r", "/var/lib/arint"])


def test_a_command_on_all_of_them(site: Site) -> None:
    told = site.system.run("node", "exec", "-i", str(site.inventory), ACCEPT, "--", "sh", "-c", "hostname; exit 3")
    assert told.returncode == 3 and sorted(told.stdout.splitlines()) == ["m1: m1", "m2: m2", "m3: m3"]
    one = site.system.run("node", "exec", "-i", str(site.inventory), ACCEPT, "m2", "--", "echo", "$HOME; x")
    assert one.stdout == "m2: $HOME; x\n"
    site.write("user: ops, password: {env: LAB_PASSWORD}, sudo_password: {env: LAB_PASSWORD}")
    as_root = site.system.run("node", "exec", "-i", str(site.inventory), ACCEPT, "m1", "--", "id", "-u")
    assert as_root.stdout == "m1: 0\n"
    site.write()
    killed = site.system.run("node", "exec", "-i", str(site.inventory), ACCEPT, "m1", "--", "sh", "-c", "kill -9 $$")
    assert killed.returncode == 255 and killed.stderr == ""
    broken = site.system.run("node", "exec", "-i", str(site.inventory), ACCEPT, "m1", "m2", "--", "sh", "-c",
                             'test "$(hostname)" = m2 || { kill -9 "$PPID"; sleep 5; }')
    assert broken.returncode == 6 and "m1: m1: the connection broke off" in broken.stderr, broken
    assert "no command is named" in site.system.refused("node", "exec", "-i", str(site.inventory), "m1", code=2)
    assert "no machine 'm9'" in site.system.refused("node", "shell", "m9", "-i", str(site.inventory), code=2)
