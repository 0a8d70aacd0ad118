"""A machine with a real systemd: the node is a unit of it, held to what it needs, and back after a boot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bootstrap.conftest import Site
from tests.hostile.system import System, eventually
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab
MOST_EXPOSED = 3.0
"""Of 10, as systemd-analyze counts; a unit without settings has 9.6."""


@pytest.fixture(scope="module")
def site(lab: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder: Path = tmp_path_factory.mktemp("site")
    with lab(count=1, systemd=True) as machines, System(folder, up=False) as system:
        system.ctl("up", "--host", machines.host, "--node", "first")
        yield Site(machines, system)


def test_the_node_is_a_unit_that_is_back_after_a_boot(site: Site) -> None:
    machine = site.lab[0]
    assert site.add("m1")["m1"]["state"] == "added"
    assert machine.ssh(["systemctl is-active arint.service"]).strip() == "active"
    assert machine.ssh(["systemctl is-enabled arint.service"]).strip() == "enabled"
    assert machine.ssh(["systemd-analyze verify /etc/systemd/system/arint.service 2>&1 || true"]).strip() == ""
    told = machine.ssh(["systemd-analyze security --no-pager arint.service"])
    exposed = re.search(r"exposure level[^:]*: ([0-9.]+)", told)
    assert exposed is not None and float(exposed[1]) <= MOST_EXPOSED, told
    assert site.add("m1")["m1"]["state"] == "unchanged"
    machine.ssh(["systemctl kill --signal=KILL --kill-whom=main arint.service"])
    eventually(lambda: site.nodes()["m1"] == "ready", 60)
    machine.power_off()
    machine.power_on()
    machine.wait_ready()
    assert site.add("m1")["m1"]["state"] == "unchanged"
    assert site.nodes()["m1"] == "ready"
    site.system.ctl("cluster", "reset", "m1", "-i", str(site.inventory), "--yes")
    assert machine.ssh(["systemctl is-active arint.service || true"]).strip() == "inactive"
    assert machine.ssh(["ls /etc/systemd/system/arint.service /opt/arint /var/lib/arint 2>/dev/null || true"]) == ""
