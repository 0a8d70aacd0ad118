"""Every block of code in README, docs and examples is at least read as what it says it is: none may rot unseen.

What a page has its reader build is also run: see test_documented.py, and the tests that the pages' examples have.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from arint.errors import NotValidError
from arint.flows import check_steps
from arint.plugins import step_types
from arint.resources.kinds import KINDS
from arint.resources.manifests import Text, load_text
from tests.docs.test_documented import WRITTEN, blocks, name_of

ELSEWHERE = re.compile(r"there is no (Secret|Flow|Service|Connection|Channel|Topic|file) ")
"""A block may speak of what the reader has declared before."""
UNCHECKED = {"", "promql", "sql", "xml", "csv", "text", "http", "diff", "perl", "ini"}
"""Languages that nothing here reads; every other one must have a check below."""


def every_block() -> Iterator[tuple[Path, int, str, str]]:
    for page in WRITTEN:
        for number, (language, _, text) in enumerate(blocks(page), 1):
            yield page, number, language, text


def of(language: str) -> pytest.MarkDecorator:
    found = [pytest.param(page, text, id=f"{name_of(page)}:{number}")
             for page, number, one, text in every_block() if one == language]
    return pytest.mark.parametrize(("page", "text"), found)


def test_every_language_is_known() -> None:
    used = {language for _, _, language, _ in every_block()}
    assert used <= UNCHECKED | {"python", "yaml", "json", "toml", "sh"}


@of("python")
def test_python_compiles(page: Path, text: str) -> None:
    compile(text, name_of(page), "exec", dont_inherit=True)


@of("json")
def test_json_is_read(page: Path, text: str) -> None:
    json.loads(text)


@of("toml")
def test_toml_is_read(page: Path, text: str) -> None:
    tomllib.loads(text)


def test_shell_is_read() -> None:
    """All of them in one go: a process each would take longer than all else here."""
    wrong = []
    for page, number, language, text in every_block():
        if language == "sh":
            done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
            wrong += [f"{name_of(page)}:{number}: {done.stderr}"] if done.returncode else []
    assert not wrong


@of("yaml")
def test_manifests_and_steps_are_right(page: Path, text: str, tmp_path: Path) -> None:
    documents = list(yaml.safe_load_all(text))
    assert documents
    for document in documents:
        if isinstance(document, list) and all(isinstance(step, dict) and set(step) & set(step_types())
                                              for step in document):
            assert not check_steps(document)
    if any(isinstance(document, dict) and document.get("kind") in KINDS for document in documents):
        try:
            load_text(Text(name_of(page), text, tmp_path))
        except NotValidError as error:
            wrong = [problem for problem in error.problems if not ELSEWHERE.match(problem.message)]
            assert not wrong, "\n".join(map(str, wrong))
