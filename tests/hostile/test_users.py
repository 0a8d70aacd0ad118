"""Services with a user of their own, on a cluster of root: they serve, see nothing else, and outlive the agent."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from arint.accounts import account
from arint.engines.find import find_etcd, find_nats
from arint.errors import DeniedError
from tests.command.programs import ECHO
from tests.hostile.system import System, eventually

USER = "nobody"
CODE = '''
import os, pathlib

def who(body: dict) -> dict:
    def tried(path):
        try:
            return len(list(pathlib.Path(path).iterdir())) or "empty"
        except OSError as error:
            return type(error).__name__
    home = os.environ["ARINT_DATA"] + "/.."
    import colorsys  # late, when it is nobody's already
    return {"uid": os.getuid(), "groups": os.getgroups(), "user": os.environ["USER"], "key": os.environ["KEY"],
            "pki": tried(home + "/pki"), "home": tried(home), "artifacts": tried(home + "/artifacts")}
'''
MANIFEST = """
kind: Secret
name: key
from: {{env: KEY_OF_TEST}}
---
kind: Service
name: who
source: who.py:who
user: {user}
env: {{KEY: {{secret: key}}}}
---
kind: Service
name: prog
command: [./echo.pl]
user: {user}
---
kind: Connection
name: db
sql: {{url: "sqlite:///${{ARINT_DATA}}/seen.db", setup: ["create table if not exists seen (who text)"]}}
---
kind: Flow
name: who
steps:
  - call: service/who
  - log: "{{{{ body }}}}"
---
kind: Flow
name: prog
steps: [{{call: service/prog}}]
---
kind: Channel
name: who
http: {{path: /who}}
to: flow/who
---
kind: Channel
name: prog
http: {{path: /prog}}
to: flow/prog
"""


def anybodys_python() -> str:
    """A Python of this version that every user may run; empty if there is none."""
    wanted = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (sys.executable, shutil.which(wanted, path="/usr/bin:/usr/local/bin") or "none"):
        try:
            subprocess.run([python, "-c", "import colorsys"], user=65534, group=65534, extra_groups=[], env={},
                           check=True, capture_output=True, cwd="/")
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return ""


@pytest.fixture(scope="module")
def shared() -> Iterator[System]:
    if os.geteuid() != 0:
        pytest.skip("only root can start services as another user")
    python = anybodys_python()
    if not python:
        pytest.skip("no Python here that every user may run")
    folder = Path(tempfile.mkdtemp(prefix="arint-users-"))
    folder.chmod(0o755)
    try:
        with System(folder, up=False) as system:
            system.python = python
            site = [path for path in sys.path if path.endswith("site-packages")]
            system.environment |= {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *site]),
                                   "KEY_OF_TEST": "geheim", "PYTHONDONTWRITEBYTECODE": "1",
                                   "ARINT_NATS": str(find_nats().path), "ARINT_ETCD": str(find_etcd().path)}
            system.ctl("up", "--http-port", str(system.port))
            system.write({"who.py": CODE, "echo.pl": ECHO, "m.yaml": MANIFEST.format(user=USER)})
            (folder / "echo.pl").chmod(0o755)
            system.ctl("apply", "m.yaml")
            yield system
    finally:
        shutil.rmtree(folder)


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_they_serve_as_their_user_and_see_nothing_of_the_home(shared: System) -> None:
    shared.wait_state("/who", shared.post("/who"), "done")
    shared.wait_state("/prog", shared.post("/prog", b"x", Content_Type="text/plain"), "done")
    log = shared.ctl("logs", "who-1", "-n", "200")
    nobody = pwd.getpwnam(USER)
    for words in (f'"uid":{nobody.pw_uid}', f'"user":"{USER}"', '"key":"geheim"', '"pki":"PermissionError"',
                  '"home":"PermissionError"', '"artifacts":"PermissionError"'):
        assert words in log.replace(" ", "").replace("'", '"'), log[-2000:]
    worker = shared.instance("who-1")["pid"]
    assert f"Uid:\t{nobody.pw_uid}\t{nobody.pw_uid}\t{nobody.pw_uid}" in Path(f"/proc/{worker}/status").read_text()
    children = subprocess.run(["pgrep", "-u", USER, "-f", "echo.pl"], capture_output=True, text=True, check=False)
    assert children.stdout.split()
    assert stat.S_IMODE(shared.home.stat().st_mode) == 0o711
    assert stat.S_IMODE((shared.home / "pki").stat().st_mode) == 0o700
    assert {check["name"]: check["state"] for check in shared.json("doctor")}["home"] == "good"


def test_another_process_of_that_user_cannot_ask_the_agent(shared: System) -> None:
    code = ("import socket, sys\ns = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
            "s.sendall(b'{\"type\":\"query\",\"what\":\"status\"}\\n'); print(s.recv(100))")
    asked = subprocess.run(["/usr/bin/python3", "-c", code, str(shared.home / "run/agent.sock")], user=65534,
                           group=65534, extra_groups=[], capture_output=True, text=True, check=False, timeout=20)
    assert asked.stdout == "b''\n", asked.stderr


def test_they_outlive_the_agent_and_are_taken_over(shared: System) -> None:
    before = {name: shared.instance(name)["pid"] for name in ("who-1", "prog-1")}
    os.kill(shared.json("status")["nodes"][0]["pid"], signal.SIGKILL)
    shared.ctl("up")
    eventually(lambda: all(shared.instance(name)["state"] == "ready" for name in before), 30.0)
    assert {name: shared.instance(name)["pid"] for name in before} == before
    shared.wait_state("/who", shared.post("/who"), "done")


def test_only_root_may_become_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(DeniedError, match="only root can start a service as nobody"):
        account(USER)
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam(USER).pw_uid)
    assert account(USER).uid == pwd.getpwnam(USER).pw_uid
