"""The frame: help, exit codes, output forms, contexts; each with the real program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from arint.version import VERSION
from arintctl import contexts, reference
from arintctl.catalogue import CATALOGUE
from arintctl.output import Column, Table, aligned
from arintctl.text import clock, lasting, octets_text, printable

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ARINT", "XDG"))}
    return {**kept, "XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_DATA_HOME": str(tmp_path / "data"),
            "NO_COLOR": "1"}


def arintctl(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "arintctl", *words], env=environment, capture_output=True, text=True,
                          timeout=30, cwd=ROOT, check=False)


def commands() -> list[tuple[str, Any]]:
    """Every command with its whole name."""
    return list(reference.leaves())


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_has_help_with_an_example_of_itself(name: str, command: Any) -> None:
    assert command.help.strip()
    assert f"arintctl {name}" in command.epilog
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{name} {parameter.name}"


def test_the_summaries_of_the_catalogue_are_those_of_the_commands() -> None:
    by_name = dict(commands())
    for word, entry in CATALOGUE.items():
        if not entry.is_noun:
            assert by_name[word].help.splitlines()[0] == entry.summary


def test_the_reference_is_not_stale() -> None:
    from arintctl.reference import FILE, text

    assert FILE.read_text(encoding="utf-8") == text(), "run: make docs"


def test_the_version_is_that_of_the_project(environment: dict[str, str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION
    assert arintctl(environment, "--version").stdout == f"arintctl {VERSION}\n"
    assert arintctl(environment, "-q", "--version").stdout == f"arintctl {VERSION}\n"


HEAVY = ("grpc", "nats", "rich", "textual", "yaml", "sqlalchemy", "cryptography", "asyncio", "httpx")


@pytest.mark.parametrize(("words", "also"), [(["--version"], ("typer", "click", "inspect", "json")), (["--help"], ())])
def test_version_and_help_import_nothing_heavy(environment: dict[str, str], words: list[str],
                                               also: tuple[str, ...]) -> None:
    """How long they take is measured by `make bench`; what they import is why it is short."""
    code = ("import sys, runpy\n"
            f"sys.argv = ['arintctl', *{words!r}]\n"
            "try: runpy.run_module('arintctl', run_name='__main__')\n"
            "except SystemExit: pass\n"
            f"print([name for name in {(*HEAVY, *also)!r} if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT,
                          check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("words", "code", "said"), [
    (("status",), 3, "arintctl up"),
    (("get", "services"), 3, "no node was set up here"),
    (("down",), 3, "no node was set up here"),
    (("nonsense",), 2, "No such command"),
    (("statsu",), 2, "Did you mean 'status'?"),
    (("dlq", "lst"), 2, "Did you mean 'list'?"),
    (("message", "list", "--state", "ded"), 2, "dead"),
    (("up", "--http-port", "99999"), 2, "65535"),
    (("get", "--no-such-option"), 2, "No such option"),
    (("get", "-o", "xml"), 2, "xml"),
    (("context", "use", "nowhere"), 3, "no context"),
    (("up", "--timeout", "soon"), 2, "is no duration"),
    (("dlq", "drop"), 2, "--all"),
    (("delete", "price"), 2, "no kind"),
    (("schema", "flws"), 2, "flow"),
    (("up", "--home", "/proc/1"), 7, "cannot be made"),
])
def test_a_failure_is_one_line_with_its_exit_code(environment: dict[str, str], words: tuple[str, ...], code: int,
                                                  said: str) -> None:
    done = arintctl(environment, *words)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("schema", "Flow"), ("schema", "--help")])
def test_output_that_cannot_be_written_is_told_in_a_line(environment: dict[str, str], words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "arintctl", *words], env=environment, stdout=full, text=True,
                              stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_whatever_is_closed_it_does_its_work(environment: dict[str, str], closed: str) -> None:
    done = subprocess.run(["sh", "-c", f'"$0" -m arintctl schema Flow {closed}', sys.executable], env=environment,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("json-schema.org" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_verbose_shows_where(environment: dict[str, str]) -> None:
    assert "Traceback" in arintctl(environment, "status", "--verbose").stderr
    assert "Traceback" in arintctl(environment, "--verbose", "status").stderr


def test_a_home_of_another_format_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text('{"format": 99}')
    done = arintctl(environment, "status", "--home", str(tmp_path))
    assert done.returncode != 0
    assert "format 99" in done.stderr


def test_problems_of_manifests_are_listed_with_file_and_line(environment: dict[str, str], tmp_path: Path) -> None:
    from arint.errors import NotValidError
    from arint.resources.problems import Problem
    from arintctl.failures import guarded
    from arintctl.session import Session, Settings

    def fail() -> None:
        raise NotValidError("2 problems", problems=[Problem("a.yaml", 3, 1, "steps[0]", "unknown key"),
                                                    Problem("b.yaml", 4, 2, "name", "missing")])

    assert guarded(Session(Settings()), fail) == 8


@pytest.mark.parametrize("form", ["table", "wide", "json", "yaml", "name"])
def test_every_form_of_a_list(environment: dict[str, str], tmp_path: Path, form: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "node.json").write_text("{}")
    assert arintctl(environment, "context", "add", "one", str(home)).returncode == 0
    done = arintctl(environment, "context", "list", "-o", form)
    assert done.returncode == 0
    assert "one" in done.stdout
    if form == "json":
        assert json.loads(done.stdout) == [{
            "name": "one", "current": True, "home": str(home), "cluster": "", "user": "", "servers": [],
            "read_only": False}]
    if form == "name":
        assert done.stdout == "one\n"


def test_schema_is_json_for_every_kind(environment: dict[str, str]) -> None:
    for kind in ("service", "flow", "channel", "connection", "secret"):
        done = arintctl(environment, "schema", kind)
        assert json.loads(done.stdout)["title"].lower() == kind


def test_contexts_are_recorded_once_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("ARINT_HOME", raising=False)
    assert contexts.home_of(None, None) is None
    assert contexts.record(tmp_path / "a") == "local"
    assert contexts.record(tmp_path / "a") == "local"
    assert contexts.record(tmp_path / "b") == "b"
    assert contexts.record(tmp_path / "x" / "b") == "b-2"
    assert contexts.home_of(None, None) == tmp_path / "x" / "b"
    assert contexts.home_of(None, "local") == tmp_path / "a"
    assert contexts.home_of(tmp_path / "c", "local") == tmp_path / "c"
    contexts.forget(tmp_path / "x" / "b")
    assert contexts.load().current == "local"


def test_what_comes_from_outside_does_not_steer_the_terminal() -> None:
    table = Table((Column("NAME", str), Column("MORE", len, wide=True)), name=str)
    assert "\x1b" not in aligned(["\x1b[2Jgone", "x\ny"], table, wide=False)
    assert printable("a\nb\x07", multiline=True) == "a\nb\\x07"
    assert aligned(["abc"], table, wide=True).splitlines() == ["NAME   MORE", "abc    3"]


def test_moments_durations_and_sizes_as_people_write_them() -> None:
    assert clock(0) == ""
    assert clock(1.25) == "1970-01-01T00:00:01.250Z"
    assert [lasting(value) for value in (0.012, 3.44, 300, 7200, 200_000)] == ["12ms", "3.4s", "5m", "2h", "2d"]
    assert [octets_text(value) for value in (12, 2048, 5 * 2**20)] == ["12 B", "2.0 KiB", "5.0 MiB"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_every_shell(environment: dict[str, str], shell: str) -> None:
    done = subprocess.run([sys.executable, "-m", "arintctl"], capture_output=True, text=True, check=False, cwd=ROOT,
                          env={**environment, "_ARINTCTL_COMPLETE": f"source_{shell}"})
    assert "_ARINTCTL_COMPLETE" in done.stdout or "arintctl" in done.stdout
