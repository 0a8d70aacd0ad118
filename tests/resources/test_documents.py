"""YAML with positions, within bounds."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arint.resources.documents import BadYamlError, dump, read


def one(text: str) -> object:
    (node,) = read(text)
    return node.value()


@pytest.mark.parametrize(("text", "value"), [
    ("a: no", {"a": "no"}), ("a: yes", {"a": "yes"}), ("on: 1", {"on": 1}), ("1: a", {"1": "a"}),
    ("a: 12:30", {"a": "12:30"}), ("a: 2024-01-01", {"a": "2024-01-01"}), ("a: 1e3", {"a": 1000.0}),
    ("a: 0x1F", {"a": 31}),
    ("a: 010", {"a": 10.0}),
    ("a: ~", {"a": None}), ("a:", {"a": None}), ("a: 'true'", {"a": "true"}), ("a: !!str 1", {"a": "1"}),
    ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}), ("- 1\n- [2, 3]", [1, [2, 3]]),
    ("a: 18446744073709551615", {"a": 2**64 - 1}),
])
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    assert one(text) == value


def test_every_value_and_key_has_its_place() -> None:
    (node,) = read("a:\n  - b: 1\n    c: {d: 2}\n")
    assert node.locate(("a", 0, "c", "d")) == (3, 12)
    assert node.locate(("a", 0, "c", "d"), key=True) == (3, 9)
    assert node.locate(("a", 0, "nothing", "there")) == (2, 5), "the nearest thing around it"


def test_documents_and_empty_ones() -> None:
    assert [node.value() for node in read("a: 1\n---\n---\nb: 2\n")] == [{"a": 1}, {"b": 2}]
    assert list(read("")) == []
    assert list(read("# nothing\n")) == []


def test_a_key_that_stands_twice_is_found_however_deep() -> None:
    (node,) = read("a: 1\nb:\n  - c: 1\n    c: 2\na: 3\n")
    assert sorted(node.all_duplicates(), key=str) == [(("a",), (5, 1)), (("b", 0, "c"), (4, 5))]


@pytest.mark.parametrize(("text", "why"), [
    ("a: [1", "no YAML"), ("\ta: 1", "no YAML"), ("a: b: c", "no YAML"), ("a: *x", "anchor"), ("a: &x [*x]", "anchor"),
    ("a: !!python/object:os.system 1", "not supported"), ("a: !x 1", "not supported"), ("a: .inf", "infinity"),
    ("a: .NaN", "infinity"), ("a: 1e999", "infinity"), ("a: " + "9" * 10_000, "64 bits"),
    ("? [x]\n: 1", "a key must be"), ("<<: {a: 1}", "merge keys"), ("a: \x00", "control"),
    ("[" * 100_000, "levels deep"), ("- " * 100_000, "levels deep"),
    ("{a: " * 5000, "levels deep"),
])
def test_what_cannot_be_read_says_why(text: str, why: str) -> None:
    with pytest.raises(BadYamlError, match=why):
        list(read(text))


def test_the_place_of_a_mistake_is_told() -> None:
    with pytest.raises(BadYamlError) as caught:
        list(read("a: 1\nb: [1, 2\nc: 3\n"))
    assert caught.value.mark.line == 3


def test_aliases_are_no_bomb() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(20))
    began = time.process_time()
    with pytest.raises(BadYamlError, match="aliases expanded"):
        list(read(bomb))
    assert time.process_time() - began < 5


def test_aliases_do_not_hide_depth() -> None:
    deep = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}]\n" for n in range(200))
    with pytest.raises(BadYamlError, match="levels deep"):
        list(read(deep))


@settings(max_examples=300)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"# \n\t,?%@~\\", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        documents = [node.value() for node in read(text)]
    except BadYamlError as error:
        assert error.mark.line >= 1
    else:
        assert [node.value() for node in read(dump([{"v": document} for document in documents]))] == [
            {"v": document} for document in documents]
