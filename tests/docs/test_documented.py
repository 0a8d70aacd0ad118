"""The documentation is whole and true: nothing undocumented, no page stale, no link broken, every example works."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from arint.flows import check_steps
from arint.plugins import installed, step_types
from arint.resources import manifests
from arint.resources.kinds import KINDS
from arint.testing import FlowTest, run_service
from arintctl import reference
from arintctl.app import build
from docs import examples
from docs.generate import PAGES

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference"
WRITTEN = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")),
           *sorted((ROOT / "examples").rglob("*.md"))]
LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```(\w*) ?([\w./-]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Language, file name and text of each fenced block."""
    for found in FENCE.finditer(page.read_text()):
        yield found[1], found[2], found[3]


def commands(page: Path) -> list[str]:
    """The arintctl command lines of a page's shell blocks."""
    lines = []
    for language, _, text in blocks(page):
        if language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                found = re.match(r"\s*(?:\.venv/bin/)?arintctl (.*)", line)
                if found:
                    lines.append(re.split(r" [>|&#]", found[1])[0])
    return lines


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_fresh(name: str) -> None:
    assert (REFERENCE / name).read_text() == PAGES[name](), "run: make docs"


def test_the_cli_reference_is_fresh() -> None:
    assert reference.FILE.read_text() == reference.text(), "run: make docs"


def test_every_command_is_documented() -> None:
    headings = set(HEADING.findall(reference.FILE.read_text()))
    for name, _ in reference.leaves():
        assert f"arintctl {name}" in headings


def test_every_kind_step_and_plugin_is_documented() -> None:
    for page, names in (("kinds.md", KINDS), ("steps.md", step_types()), ("plugins.md", installed())):
        assert set(names) <= set(HEADING.findall((REFERENCE / page).read_text()))


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text()
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")} - {"index.md"}
    assert pages <= set(LINK.findall(index))


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [page.name[:4] for page in (ROOT / "docs/decisions").glob("*.md")]
    assert all(number.isdecimal() for number in numbers)
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)} links to {link}"


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings, and those written out."""
    text = page.read_text()
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}
    return made | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize("page", [page for page in WRITTEN if commands(page)], ids=name_of)
def test_commands_in_the_text_exist(page: Path) -> None:
    for line in commands(page):
        parsed(line)


def parsed(line: str) -> None:
    """Parse a command line as arintctl would, without running it."""
    root = build()
    words = shlex.split(line)
    with root.make_context("arintctl", [], resilient_parsing=True) as above:
        if words[0].startswith("-"):
            root.make_context("arintctl", words, resilient_parsing=True)
            return
        command: Any = root.get_command(above, words.pop(0))
        assert command is not None, line
        if getattr(command, "commands", None):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        if words[:1] != ["--help"]:
            command.make_context("verb", words, parent=above)


@pytest.mark.parametrize("kind", KINDS)
def test_examples_of_kinds(kind: str, tmp_path: Path) -> None:
    whole = {key: value for document in examples.KINDS.values() for key, value in [(document, document)]}
    others = "kind: Secret\nname: crm-token\nfrom: {env: X}\n---\nkind: Secret\nname: tariff-key\nfrom: {env: Y}\n"
    (tmp_path / "price.py").write_text("def price(): ...\n")
    (tmp_path / "all.yaml").write_text("---\n".join([*whole, others]))
    declared = {type(item.resource).__name__ for item in manifests.load([tmp_path])}
    assert kind in declared


@pytest.mark.parametrize("step", step_types())
def test_examples_of_steps(step: str) -> None:
    steps = yaml.safe_load(examples.STEPS[step])
    assert not check_steps(steps)
    assert all(step in written for written in steps)


@pytest.mark.parametrize("transport", [one.name for plugin in installed().values() for one in plugin.transports])
def test_examples_of_transports(transport: str, tmp_path: Path) -> None:
    secret = "---\nkind: Secret\nname: shop-password\nfrom: {env: X}\n"
    (tmp_path / "one.yaml").write_text(examples.TRANSPORTS[transport] + secret)
    assert manifests.load([tmp_path])


def written_files(page: Path, folder: Path, *, upto: int = 99) -> None:
    """Write the files that a page has its reader write; a later block of the same name replaces the earlier."""
    for _, name, text in list(blocks(page))[:upto]:
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


def test_the_readme_is_an_integration_that_works(tmp_path: Path) -> None:
    written_files(ROOT / "README.md", tmp_path)
    run = FlowTest(tmp_path / "readings").run({"sensor": "roof", "value": 68, "unit": "F"})
    assert run.failure is None
    [row] = run.sent_to("connection/readings-db")
    assert row.value == {"sensor": "roof", "celsius": 20.0}


def test_the_tutorial_fails_and_is_mended_as_it_says(tmp_path: Path) -> None:
    page = ROOT / "docs/tutorial.md"
    kelvin = {"sensor": "roof", "value": 293.15, "unit": "K"}
    names = [name for _, name, _ in blocks(page)]
    mended = [index for index, name in enumerate(names) if name == "readings/convert.py"][1]
    written_files(page, tmp_path, upto=mended)
    failed = FlowTest(tmp_path / "readings").run(kelvin).failure
    assert failed is not None
    assert failed.kind == "KeyError"
    whole = tmp_path / "mended"
    written_files(page, whole)
    [row] = FlowTest(whole / "readings").run(kelvin).sent_to("connection/readings-db")
    assert row.value == {"sensor": "roof", "celsius": 20.0}


@pytest.mark.parametrize(("page", "file"), [    ("answer-at-once.md", "test_shop.py"),
("test-with-pytest.md", "test_readings.py"),
                                            ("service-in-any-language.md", "test_words.py")])
def test_the_test_of_the_how_to_page_passes(page: str, file: str, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    written_files(ROOT / "docs/how-to" / page, tmp_path)
    for script in tmp_path.rglob("*.sh"):
        script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    source = (tmp_path / file).read_text()
    space: dict[str, Any] = {"__name__": "test_of_the_page"}
    exec(compile(source, file, "exec"), space)
    tests = [test for name, test in space.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()


def test_the_service_of_the_limits_page_has_its_environment_and_no_other(tmp_path: Path,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TARIFF_KEY", "that of whoever runs the test")
    written_files(ROOT / "docs/how-to/limit-a-service.md", tmp_path)
    (tmp_path / "limits/upper.sh").chmod(0o755)
    run = FlowTest(tmp_path / "limits", secrets={"tariff-key": ""}).run(b"{}")
    assert re.fullmatch(rb"EUR /\S+/archive ", run.message.body)
    run = FlowTest(tmp_path / "limits", secrets={"tariff-key": "geheim"}).run(b"{}")
    assert run.message.body.endswith(b"/archive with a key")


def test_the_plugin_of_the_how_to_page_works() -> None:
    page = ROOT / "docs/how-to/write-a-plugin.md"
    from arint.flows.state import State
    from arint.message import Message

    [source] = [text for _, name, text in blocks(page) if name == "arint_mask/__init__.py"]
    space: dict[str, Any] = {"__name__": "arint_mask"}
    exec(compile(source, "arint_mask", "exec"), space)
    [step] = space["plugin"].steps
    state = State(Message.new(b'{"card":"4111111111111111","id":1}'), "f", "start", None)  # type: ignore[arg-type]
    step(["card"]).apply(state)
    assert state.body == {"card": "************1111", "id": 1}
    assert run_service(lambda body: body, {"id": 1}).value == {"id": 1}
