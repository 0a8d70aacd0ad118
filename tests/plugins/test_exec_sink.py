"""Programs as connections: no shell, nothing injected, bounded in time, output and memory, none left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from arint.errors import ArintError, MessageError, NotFoundError, RejectedError, SystemUnavailableError
from arint.message import Message
from arint.plugins import Delivery, SinkContext
from plugins.exec.sink import ExecSink
from plugins.exec.specs import ExecConnection, ExecOptions
from tests.patience import PATIENCE

ECHO = "import sys, json; print(json.dumps(sys.argv[1:]), end='')"


def opened(*command: str, secrets: dict[str, bytes] | None = None, **spec: Any) -> ExecSink:
    known = msgspec.convert({"command": list(command), **spec}, ExecConnection)
    return ExecSink(SinkContext("tool", known, secrets or {}, ""))


def script(text: str, **spec: Any) -> ExecSink:
    return opened(sys.executable, "-c", text, **spec)


def delivery(body: Any = None, **options: Any) -> Delivery:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Delivery(Message.new(raw), body, msgspec.convert(options, ExecOptions), "key")


async def test_it_reads_the_body_and_its_output_is_the_answer() -> None:
    sink = script("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read().upper())")
    assert await sink.send(delivery(b"abc\xff")) == b"ABC\xff"
    assert await script("pass").send(delivery(b"x" * 2**20)) is None  # what it does not read holds up nothing


async def test_each_argument_is_one_and_nothing_of_it_is_run() -> None:
    answer = await script(ECHO).send(delivery({"name": "a b; touch /tmp/x $(id) `id` 'q'"},
                                              args=["--name", "{{ body.name }}", "{{ message.id }}.txt"]))
    assert answer is not None
    assert msgspec.json.decode(answer)[:2] == ["--name", "a b; touch /tmp/x $(id) `id` 'q'"]


@given(st.text(max_size=40))
@settings(max_examples=15)
async def test_whatever_a_message_says_is_one_argument(said: str) -> None:
    try:
        answer = await opened(sys.executable, "-S", "-c", ECHO).send(delivery({"s": said}, args=["{{ body.s }}"]))
    except RejectedError:
        assert said.startswith("-") or "\0" in said
        return
    assert answer is not None and msgspec.json.decode(answer) == [said]


async def test_what_a_message_says_is_no_option() -> None:
    with pytest.raises(RejectedError, match="begins with -"):
        await script(ECHO).send(delivery({"s": "--delete"}, args=["{{ body.s }}"]))
    assert await script(ECHO).send(delivery({"s": "--x"}, args=["{{ body.s }}"], dashes=True)) == b'["--x"]'
    assert await script(ECHO).send(delivery({"s": "--x"}, args=["-n{{ body.s }}"])) == b'["-n--x"]'


async def test_its_environment_is_what_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_AGENT", "secret")
    sink = script("import os, json; print(json.dumps(dict(os.environ)))", secrets={"token": b"s3\n"},
                  env={"TOKEN": {"secret": "token"}, "MODE": "fast"})
    found = msgspec.json.decode(await sink.send(delivery()) or b"")
    assert found["TOKEN"] == "s3" and found["MODE"] == "fast" and found["ARINT_IDEMPOTENCY_KEY"] == "key"
    assert "OF_THE_AGENT" not in found and not Path(found["HOME"]).exists()
    with pytest.raises(NotFoundError, match="no secret gone"):
        script("pass", env={"X": {"secret": "gone"}})


@pytest.mark.parametrize(("code", "kind"), [(1, MessageError), (65, RejectedError), (75, SystemUnavailableError)])
async def test_its_exit_code_decides(code: int, kind: type[ArintError]) -> None:
    with pytest.raises(kind, match=f"ended with {code}: no way") as found:
        await script(f"import sys; sys.stderr.write('no way'); sys.exit({code})").send(delivery())
    assert type(found.value) is kind


async def test_it_is_killed_after_its_time_with_all_that_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    sink = script(f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; "
                  f"time.sleep(600)']); open({str(mark)!r}, 'w').write(str(p.pid)); time.sleep(600)", timeout="2s")
    with pytest.raises(MessageError, match="did not end within 2 s"):
        await sink.send(delivery())
    await _gone(int(mark.read_text()))


async def test_a_child_that_holds_its_output_open_ends_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    sink = script(f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; "
                  f"time.sleep(600)']); open({str(mark)!r}, 'w').write(str(p.pid)); print('done', end='', flush=True)")
    assert await sink.send(delivery()) == b"done"
    await _gone(int(mark.read_text()))


async def test_a_gigabyte_of_output_is_cut_off() -> None:
    with pytest.raises(RejectedError, match="printed more than 64KiB"):
        await script("while True: print('x' * 100000)", output="64KiB").send(delivery())
    with pytest.raises(MessageError, match="ended with 1") as found:
        await script("import sys\nfor _ in range(300): sys.stderr.write('e' * 100000)\nsys.exit(1)").send(delivery())
    assert len(str(found.value)) < 1000


async def test_what_it_still_had_to_say_does_not_hold_up_its_end() -> None:
    noisy = script("import os\nwhile True: os.write(1, b'x' * 1000000)", output="1KiB", concurrency=8)

    async def slow_loop() -> None:
        while True:
            time.sleep(0.02)  # so that more has been read than anybody takes, and reading is paused
            await asyncio.sleep(0)

    slow = asyncio.create_task(slow_loop())
    said = await asyncio.gather(*(noisy.send(delivery()) for _ in range(8)), return_exceptions=True)
    slow.cancel()
    assert {type(one) for one in said} == {RejectedError}


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_neither_its_time_nor_its_end_waits_for_what_is_in_its_pipes(run: Any, tmp_path: Path) -> None:
    """Its time is over while it prints without end; what it leaves behind in a session of its own holds its pipes."""
    mark = tmp_path / "pid"
    endless = "import os\nwhile True: os.write(2, b'y' * 65536)"
    leaves = ("import os, time\nif os.fork() == 0:\n    os.setsid()\n"
              f"    open({str(mark)!r}, 'w').write(str(os.getpid()))\n"
              "    time.sleep(600)\nprint('done', end='', flush=True)\n")

    async def both() -> None:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(MessageError, match="did not end within 1 s"):
                await script(endless, timeout="1s").send(delivery())
            assert await script(leaves, timeout="30s").send(delivery()) == b"done"

    run(both())
    os.kill(int(mark.read_text()), signal.SIGKILL)


async def test_it_may_not_use_all_memory() -> None:
    with pytest.raises(MessageError, match="MemoryError"):
        await script("x = bytearray(800 * 2**20)", memory="400MiB").send(delivery())


async def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    for sink in (opened("/nowhere/tool"), opened(str(tmp_path))):
        with pytest.raises(SystemUnavailableError):
            await sink.send(delivery())
    orphan = tmp_path / "orphan"
    orphan.write_text("#!/nowhere/python\n")
    orphan.chmod(0o755)
    with pytest.raises(SystemUnavailableError, match="cannot be started"):
        await opened(str(orphan)).send(delivery())
    plain = tmp_path / "plain.txt"
    plain.write_text("no program")
    with pytest.raises(SystemUnavailableError, match="may not be run"):
        await opened(str(plain)).probe()


async def test_only_so_many_run_at_once() -> None:
    sink = script("import time; print(time.time(), flush=True); time.sleep(0.3); print(time.time())", concurrency=1)
    answers = await asyncio.gather(*(sink.send(delivery()) for _ in range(3)))
    spans = sorted(tuple(map(float, (answer or b"").split())) for answer in answers)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


@pytest.mark.parametrize(("build", "why"), [
    (lambda: msgspec.convert({"command": ["tool"]}, ExecConnection), "absolute"),
    (lambda: msgspec.convert({"command": []}, ExecConnection), "length"),
    (lambda: msgspec.convert({"command": ["/t"], "output": "1GiB"}, ExecConnection), "at most 64MiB"),
    (lambda: msgspec.convert({"args": ["{{ boddy }}"]}, ExecOptions), "args.0"),
])
def test_mistakes_are_found_when_it_is_written(build: Callable[[], Any], why: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=why):
        build()


async def _gone(pid: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
            await asyncio.sleep(0.02)
