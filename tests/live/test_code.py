"""Code that is shipped, replaced under load, refused, and taken back; a real home, and no package index."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hostile.system import System, eventually
from tests.wheels import make_wheel

MANIFEST = """
kind: Service
name: {name}
source: {name}.py:work
replicas: {replicas}
{more}
config: {{mark: {mark}}}
update: {{healthy_after: 300ms}}
---
kind: Flow
name: {name}
steps:
  - call: service/{name}
  - send:
      to: connection/results
      statement: insert into results (flow, version, mark) values ('{name}', :version, :mark)
---
kind: Channel
name: {name}
http: {{path: /{name}}}
to: flow/{name}
"""
RESULTS = """
kind: Connection
name: results
sql:
  url: sqlite:///${ARINT_DATA}/results.db
  setup:
    - create table if not exists results (flow text, version text, mark text)
"""
CODE = """
{imports}
def work(body, ctx):
    return {{"version": {version}, "mark": ctx.config["mark"]}}
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("live")) as system:
        system.write({"results.yaml": RESULTS})
        system.ctl("apply", "results.yaml")
        yield system


def write(system: System, name: str, version: str, *, imports: str = "", mark: str = "one", replicas: int = 1,
          more: str = "") -> None:
    system.write({f"{name}/{name}.py": CODE.format(imports=imports, version=version),
                  f"{name}/{name}.yaml": MANIFEST.format(name=name, mark=mark, replicas=replicas, more=more)})


def results(system: System, name: str) -> list[tuple[str, str]]:
    import sqlite3

    with sqlite3.connect(f"file:{system.home / 'data/results.db'}?mode=ro", uri=True) as database:
        return list(database.execute("select version, mark from results where flow = ? order by rowid", (name,)))


def answered(system: System, name: str) -> tuple[str, str]:
    """What the version that serves makes of a message."""
    system.wait_state(f"/{name}", system.post(f"/{name}"), "done")
    return results(system, name)[-1]


def test_what_a_service_requires_is_shipped_shared_and_put_back(system: System) -> None:
    house = system.folder / "wants/wheelhouse"
    make_wheel(house, "coins", "1.1", requires=["metal>=2", "httpx"])
    make_wheel(house, "metal", "2.0")
    write(system, "wants", "coins.version", imports="import coins", more="requirements: [coins]")
    plan = system.run("diff", "wants").stdout
    assert "coins==1.1" in plan
    assert "metal==2.0" in plan
    assert "--hash" not in plan
    assert not list((system.home / "requirements").iterdir())
    system.ctl("apply", "wants")
    system.write({"sample.json": "{}"})
    tried = system.ctl("flow", "test", "wants", "sample.json", "-f", "wants", "-f", "results.yaml")
    assert '"version":"1.1"' in tried.replace(" ", "")
    assert answered(system, "wants") == ("1.1", "one")
    write(system, "shares", "metal.version", imports="import metal", more="requirements: [coins]")
    system.ctl("apply", "shares")  # without a wheelhouse: what these words mean is known
    assert answered(system, "shares") == ("2.0", "one")
    [folder] = (system.home / "requirements").iterdir()
    assert system.run("plan", "wants").returncode == 0

    make_wheel(house, "coins", "1.2")
    assert system.run("plan", "wants").returncode == 0, "what is locked stays"
    assert "coins==1.2" in system.run("diff", "wants", "--upgrade").stdout

    subprocess.run(["rm", "-r", folder], check=True)  # as if this node had never had it
    write(system, "shares", "metal.version + '!'", imports="import metal", more="requirements: [coins]")
    system.ctl("apply", "shares")
    assert answered(system, "shares") == ("2.0!", "one")
    assert folder.is_dir()


def test_what_does_not_resolve_changes_nothing(system: System) -> None:
    head = system.json("history")[0]["number"]
    make_wheel(system.folder / "wrong/wheelhouse", "coins", "1.0")
    write(system, "wrong", "1", more="requirements: [coins, coin]")
    told = system.refused("apply", "wrong", code=8)
    assert "wrong.yaml:6:23: requirements[1]" in told
    assert 'did you mean "coins"' in told
    write(system, "wrong", "1", more="requirements: ['httpx<0.20']")
    told = system.refused("apply", "wrong", code=8)
    assert f"httpx {httpx.__version__}, which ARINT itself runs with" in told
    assert system.json("history")[0]["number"] == head


def test_the_example_of_the_how_to_page_works(system: System) -> None:
    from tests.docs.test_documented import ROOT, blocks

    page = ROOT / "docs/how-to/ship-code.md"
    stand_in = {"babel>=2.14": "coins>=1.0", "from babel.numbers import format_currency": "import coins",
                'format_currency(body["total"], "EUR", locale="de_DE")': "coins.version"}  # no index is asked here
    files = {}
    for _, name, text in blocks(page):
        for said, instead in stand_in.items():
            text = text.replace(said, instead)
        if name:
            files[name] = text
    flow = "kind: Flow\nname: invoices\nsteps:\n  - call: service/invoice\n---\n"
    channel = "kind: Channel\nname: invoices\nhttp: {path: /invoices}\nto: flow/invoices\n"
    system.write({**files, "invoices/flow.yaml": flow + channel})
    make_wheel(system.folder / "stick", "coins", "1.1")
    system.ctl("apply", "invoices", "--wheelhouse", "stick")
    system.wait_state("/invoices", system.post("/invoices", b'{"id": 1}'), "done")


class Load:
    """Messages, one after the other from several senders, until it is told to stop."""

    def __init__(self, system: System, path: str, *, good: int = 202, senders: int = 4) -> None:
        self._good = good
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self._system, self._path = system, path
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(senders)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        with httpx.Client(timeout=30.0) as client:
            while not self._stop.is_set():
                answer = client.post(self._system.url(self._path), json={})
                (self.accepted if answer.status_code == self._good else self.refused).append(answer.text)
                self._stop.wait(0.02)


class Watch:
    """How many instances of a service were ready, at the least, and whether any that served was gone at once."""

    def __init__(self, system: System, service: str) -> None:
        self.least = 99
        self._stop = threading.Event()
        self._system, self._service = system, service
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        import asyncio

        from arint.home import Home
        from arint.operations.agent import LocalAgent

        async def look() -> None:
            agent = LocalAgent(Home(self._system.home))
            while not self._stop.is_set():
                status = await agent.status()
                ready = sum(one.state == "ready" for one in status.instances if one.service == self._service)
                self.least = min(self.least, ready)
                await asyncio.sleep(0.02)

        asyncio.run(look())


def test_a_new_version_under_load_fails_no_message_and_the_old_serves_until_then(system: System) -> None:
    write(system, "rolls", "'v0'", replicas=2)
    with (system.folder / "rolls/rolls.yaml").open("a") as manifest:
        manifest.write("---\nkind: Channel\nname: asks\nhttp: {path: /asks}\nto: service/rolls\ndelivery: immediate\n")
    asks = (system.folder / "rolls/rolls.yaml").read_text()
    system.ctl("apply", "rolls")
    with (Load(system, "/rolls") as load, Load(system, "/asks", good=200, senders=2) as calls,
          Watch(system, "rolls") as watch):
        for number in (1, 2):
            write(system, "rolls", f"'v{number}'", replicas=2)
            system.write({"rolls/rolls.yaml": asks})
            system.ctl("apply", "rolls")
    assert not load.refused
    assert not calls.refused
    assert {json.loads(one)["version"] for one in calls.accepted} >= {"v0", "v2"}
    assert watch.least >= 2
    eventually(lambda: len(results(system, "rolls")) == len(load.accepted),
               explain=lambda: (len(results(system, "rolls")), len(load.accepted)))
    assert results(system, "rolls")[-1][0] == "v2"
    assert not [letter for letter in system.json("dlq", "list") if letter["flow"] == "rolls"]


def test_a_version_that_does_not_come_up_is_told_everywhere_and_taken_back_with_its_configuration(
        system: System) -> None:
    write(system, "breaks", "'good'", mark="one")
    system.ctl("apply", "breaks")
    answered(system, "breaks")
    watching, told = system.begin("events", "-f", "-n", "1", "-o", "json"), []
    assert watching.stdout is not None
    reader = threading.Thread(target=lambda: [told.append(json.loads(line)) for line in watching.stdout or ()])
    reader.start()
    eventually(lambda: bool(told))
    write(system, "breaks", "'bad'", imports="import nowhere", mark="two")
    done = system.run("apply", "breaks")
    try:
        eventually(lambda: any("nowhere" in one.get("error", "") and one["stage"] == "version" for one in told))
    finally:
        watching.terminate()
        watching.communicate()
        reader.join()
    assert done.returncode == 1
    assert f'File "{system.folder}/breaks/breaks.py", line 2' in done.stderr
    assert "No module named 'nowhere'" in done.stderr
    for words in (["describe", "service/breaks"], ["status"], ["get", "services", "-o", "wide"], ["events"]):
        assert "No module named 'nowhere'" in system.ctl(*words), words
    assert "another version failed" in system.ctl("get", "services")
    assert answered(system, "breaks")[0] == "good"

    write(system, "other", "'fine'")
    system.ctl("apply", "other")  # what is wrong elsewhere is no failure of this
    assert answered(system, "other") == ("fine", "one")

    system.ctl("delete", "channel/other", "flow/other", "service/other", "--no-wait")
    before = next(one["number"] for one in system.json("history") if one["message"] == "" and one["number"] > 0
                  and _has(system, one["number"], "mark: one", "breaks"))
    system.ctl("rollback", "--to", str(before))
    assert answered(system, "breaks") == ("good", "one")
    assert "nowhere" not in system.ctl("status")


def _has(system: System, number: int, words: str, service: str) -> bool:
    return words in system.run("export", f"service/{service}", "--set", str(number)).stdout


def test_without_auto_revert_the_old_version_still_serves(system: System) -> None:
    more = "secrets: []"
    write(system, "stays", "'good'", more=more)
    system.ctl("apply", "stays")
    manifest = (system.folder / "stays/stays.yaml").read_text()
    write(system, "stays", "'bad'", imports="raise RuntimeError('not today')", more=more)
    (system.folder / "stays/stays.yaml").write_text(manifest.replace("300ms}", "300ms, auto_revert: false}"))
    done = system.run("apply", "stays")
    assert done.returncode == 1
    assert "not today" in done.stderr
    assert answered(system, "stays")[0] == "good"
    system.ctl("rollback")


class Dev:
    """`arintctl dev`, and the events that it tells."""

    def __init__(self, system: System, folder: str) -> None:
        self.events: list[dict[str, Any]] = []
        self._process = system.begin("dev", folder, "-o", "json")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.append(json.loads(line))

    def wait(self, event: str, after: int = 0, **fields: Any) -> dict[str, Any]:
        def found() -> list[dict[str, Any]]:
            return [one for one in self.events[after:] if one["event"] == event
                    and all(value in str(one[name]) for name, value in fields.items())]

        eventually(lambda: bool(found()), 30.0, lambda: self.events[after:])
        return found()[0]

    def end(self) -> int:
        import signal

        try:
            self._process.send_signal(signal.SIGINT)
            code = self._process.wait(20.0)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(10.0)
            for stream in (self._process.stdout, self._process.stderr):
                assert stream is not None
                stream.close()
        return code


def test_dev_applies_on_save_and_tells_what_happens(system: System) -> None:
    write(system, "loops", "'v0'")
    code = system.folder / "loops/loops.py"
    dev = Dev(system, "loops")
    try:
        dev.wait("serving")
        assert f"curl -i {system.url('/loops')} --json" in dev.wait("reachable")["addresses"][0]["command"]
        assert answered(system, "loops")[0] == "v0"
        dev.wait("passed", record="'outcome': 'done'")

        seen = len(dev.events)
        write(system, "loops", "'v1'", imports="print('hello there', flush=True)")
        dev.wait("serving", seen)
        dev.wait("printed", seen, line="hello there")
        assert [one["path"] for one in dev.wait("changed", seen)["changes"][0]["fields"]] == ["code"]
        assert answered(system, "loops")[0] == "v1"

        seen = len(dev.events)
        code.write_text("def work(:\n")
        assert f"{code}:1:10: " in dev.wait("refused", seen)["problems"][0]
        seen = len(dev.events)
        code.write_text("\nimport nowhere\n")
        assert f'File "{code}", line 2' in dev.wait("broken", seen)["error"]
        assert answered(system, "loops")[0] == "v1"
        seen = len(dev.events)
        (system.folder / "loops/loops.yaml").write_text("kind: Servise\n")
        assert "loops.yaml:1:7: kind: unknown kind" in dev.wait("refused", seen)["problems"][0]

        seen = len(dev.events)
        write(system, "loops", "body['n']")
        dev.wait("serving", seen)
        system.post("/loops")
        failed = dev.wait("passed", seen, record="KeyError")["record"]
        assert failed["error_at"] == "loops.py:4"
    finally:
        assert dev.end() == 0
    assert system.json("get", "service/loops")["status"]["ready"] == 1


def test_dev_says_what_is_missing(system: System, tmp_path: Path) -> None:
    assert "no such folder" in system.refused("dev", "nowhere", code=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(system.environment, "ARINT_HOME", str(tmp_path / "none"))
        assert "arintctl dev --up" in system.refused("dev", "loops", code=6)
