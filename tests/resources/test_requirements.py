"""How requirements are written, checked and named."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.errors import NotValidError
from arint.resources.canonical import canonical, from_canonical
from arint.resources.kinds import Locked, Service
from arint.resources.manifests import load
from arint.resources.requirements import Package, lines_of, package_of, packages_of, set_digest, wrong_with
from arint.resources.versions import version_of

PACKAGES = st.builds(Package, st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True),
                     st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}(\+[a-z]+)?", fullmatch=True),
                     st.text("0123456789abcdef", min_size=64, max_size=64))


@given(st.lists(PACKAGES, unique=True), st.randoms())
def test_a_set_is_named_by_its_packages_in_whatever_order(packages: list[Package], random: object) -> None:
    lines = [str(package) for package in packages]
    locked = Locked("3.11", "linux-x86_64", lines)
    assert packages_of(locked) == packages
    random.shuffle(lines)  # type: ignore[attr-defined]
    assert set_digest(Locked("3.11", "linux-x86_64", lines)) == set_digest(locked)
    if packages:
        assert set_digest(msgspec.structs.replace(locked, python="3.12")) != set_digest(locked)
        assert set_digest(msgspec.structs.replace(locked, packages=lines[1:])) != set_digest(locked)


@given(st.text())
def test_any_line_is_a_package_or_refused(line: str) -> None:
    with contextlib.suppress(ValueError):
        assert str(package_of(line)) == line


@given(st.text())
def test_any_text_is_a_requirement_or_told_what_is_wrong(text: str) -> None:
    told = wrong_with(text)
    assert told is None or told[0]


@pytest.mark.parametrize(("text", "words"), [
    ("--index-url x", "option of pip"), ("-e .", "option of pip"), ("./lib/x.whl", "wheelhouse"),
    ("x @ file:///x.whl", "not an address"), ("babel >", "no requirement"), ("", "no requirement"),
    ("a b", "no requirement"),
])
def test_what_is_no_requirement(text: str, words: str) -> None:
    told = wrong_with(text)
    assert told is not None
    assert words in " ".join(told)


@pytest.mark.parametrize("text", ["babel", "httpx>=0.28", "a[b,c] (>=1,<2)", "tzdata; sys_platform == 'win32'"])
def test_what_is_one(text: str) -> None:
    assert wrong_with(text) is None


def test_the_lines_of_a_file() -> None:
    text = "# all\nbabel  # of it\n\nhttpx>=0.28 \\\n  ; python_version > '3'\r\nx#y\n"
    assert list(lines_of(text)) == [(2, "babel"), (4, "httpx>=0.28 ; python_version > '3'"), (6, "x#y")]


MANIFEST = "kind: Service\nname: s\nsource: s.py:s\nrequirements: {}\n"


def services(folder: Path, requirements: str) -> list[Service]:
    (folder / "s.py").write_text("def s(): ...\n")
    (folder / "s.yaml").write_text(MANIFEST.format(requirements))
    return [item.resource for item in load([folder / "s.yaml"])]  # type: ignore[misc]


def test_a_file_stands_for_its_lines(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("\ufeffbabel # that\nhttpx>=0.28\n")
    [service] = services(tmp_path, "requirements.txt")
    assert service.requirements == ["babel", "httpx>=0.28"]
    assert from_canonical(canonical(service)) == service


@pytest.mark.parametrize(("requirements", "place", "words"), [
    ("[babel, 'babel >']", ":4:23:", "no requirement"),
    ("there.txt", ":4:15:", "there.txt:2: "),
    ("nowhere.txt", ":4:15:", "nowhere.txt cannot be read"),
    ("latin.txt", ":4:15:", "not UTF-8"),
    ("{babel: 2}", ":4:15:", "requirements"),
    ("[2]", ":4:16:", "must be text"),
])
def test_mistakes_have_their_place(tmp_path: Path, requirements: str, place: str, words: str) -> None:
    (tmp_path / "there.txt").write_text("babel\n--pre\n")
    (tmp_path / "latin.txt").write_bytes(b"babel # \xe9\n")
    with pytest.raises(NotValidError) as caught:
        services(tmp_path, requirements)
    [told] = map(str, caught.value.problems)
    assert f"s.yaml{place}" in told
    assert words in told


def test_a_new_process_is_needed_for_other_packages_not_for_other_words() -> None:
    one = Service(name="s", source="s.py:s", requirements=["a"], locked=Locked("3.11", "x", ["a==1 --hash=sha256:0"]))
    assert version_of(msgspec.structs.replace(one, requirements=["a>=0"])) == version_of(one)
    assert version_of(msgspec.structs.replace(one, locked=Locked())) != version_of(one)
