"""Inventories: what is read from them, and every mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.bootstrap.inventory import hop_parts, load, parse
from arint.errors import ArintError, NotFoundError, NotValidError
from arint.registry.records import Capacity

ROOT = Path(__file__).resolve().parents[2]


def problems(text: str) -> list[str]:
    with pytest.raises(NotValidError) as caught:
        parse(text, "i.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_the_example_at_the_root_is_three_workers() -> None:
    hosts = load(ROOT / "inventory.yaml").cluster()
    assert [host.node for host in hosts] == ["n1", "n2", "n3"]
    assert all(host.roles == ("worker",) and host.user == "root" and host.labels["lan"] == "office" for host in hosts)
    assert hosts[2].capacity == Capacity(cpu=2, memory=4 * 2**30)
    assert hosts[2].labels == {"lan": "office", "rack": "b", "zone": "b"}


def test_what_stands_nearer_wins_and_labels_add_up() -> None:
    host, = parse("""
vars: {user: a, port: 1, labels: {one: v}}
lans: {office: {user: b, jump: "gate:2222", labels: {two: l}}}
groups: {g: {user: d, labels: {three: g, one: g}}, h: {port: 5}}
clusters:
  c:
    lan: office
    vars: {user: c}
    nodes:
      n: {host: 192.0.2.1, groups: [g, h], address: 10.0.0.1}
""", "i.yaml").hosts
    assert (host.user, host.port, host.jump, host.address) == ("d", 5, ("gate:2222",), "10.0.0.1")
    assert host.labels == {"lan": "office", "one": "g", "two": "l", "three": "g"}
    assert host.place == "i.yaml:10" and host.roles == ("worker",)


def test_every_mistake_is_told_with_its_place() -> None:
    found = problems("""
vars: {usr: root, port: 70000}
clusters:
  local:
    lan: offic
    nodes:
      N_1: {host: 192.0.2.1}
      n2: {host: 192.0.2.1, groups: [x], roles: []}
      n3: {}
      n4: {host: "-oProxyCommand=x", user: "a b", home: ../x, jump: "a b", labels: {a: "b c"}}
lans: {office: {}}
""")
    assert found == ['i.yaml:2:8: vars.usr: unknown key "usr" (did you mean "user"?)']  # forms first, then meanings
    found = problems("""
vars: {port: 70000}
clusters:
  local:
    lan: offic
    nodes:
      N_1: {host: 192.0.2.1}
      n2: {host: 192.0.2.1, groups: [x], roles: []}
      n3: {}
      n4: {host: "-oProxyCommand=x", user: "a b", home: ../x, jump: "a b", labels: {a: "b c"}}
      n5: {host: 192.0.2.5, capacity: {memory: lots}, password: {}}
lans: {office: {}}
""")
    for words in ("i.yaml:2:14: vars.port: 70000 is no port", 'lan: there is no LAN "offic" (did you mean "office"?)',
                  "'N_1' is no name for a node", 'n2.groups[0]: there is no group "x"',
                  "n2.host: 192.0.2.1 is the node N_1 already", "n2.roles: no role", 'n3: the key "host" is missing',
                  "n4.host: '-oProxyCommand=x' is no address", "n4.user", "n4.home", "n4.jump", "n4.labels.a",
                  "n5.capacity.memory: 'lots' is no size", "n5.password: where is it read from?"):
        assert any(words in line for line in found), (words, found)


def test_a_host_twice_is_refused_but_for_another_port() -> None:
    text = "clusters: {c: {nodes: {a: {host: x}, b: {host: X%s}}}}"
    assert "x is the node a already" in problems(text % "")[0].lower()
    assert len(parse(text % ", port: 2200", "i").hosts) == 2


def test_a_password_that_stands_there_is_not_repeated() -> None:
    for key in ("password", "sudo_password", "passphrase"):
        found = problems(f"clusters: {{c: {{nodes: {{a: {{host: x, {key}: hunter2}}}}}}}}")
        assert "no password stands in an inventory" in found[0] and "hunter2" not in "".join(found)


@pytest.mark.parametrize(("folder", "words"), [
    ("/opt", "belongs to the system"), ("//usr", "belongs to the system"), ("/root", "belongs to the system"),
    ("/", "is no folder"), ("/opt/.", "is no folder"), ("/opt/./x", "is no folder"), ("/opt/../etc", "is no folder")])
def test_folders_that_are_not_for_arint(folder: str, words: str) -> None:
    for key in ("prefix", "home"):
        assert words in problems(f"clusters: {{c: {{nodes: {{a: {{host: x, {key}: {folder}}}}}}}}}")[0]


def test_which_cluster() -> None:
    two = parse("clusters: {a: {nodes: {x: {host: h}}}, b: {nodes: {y: {host: i}}}}", "i")
    assert [host.node for host in two.cluster("b")] == ["y"]
    with pytest.raises(NotValidError, match="several clusters: a, b"):
        two.cluster()
    with pytest.raises(NotFoundError, match="no machine of a cluster 'c'"):
        two.cluster("c")


@pytest.mark.parametrize("text", ["", "[]", "a", "clusters: []", "clusters: {a: 1}", "{", "---\na: 1\n---\nb: 2",
                                  "clusters: {c: {nodes: {a: {host: x}}}}\nclusters: {}"])
def test_what_is_no_inventory(text: str) -> None:
    with pytest.raises(NotValidError):
        parse(text, "i.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="No such file"):
        load(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"a: \xe9")
    with pytest.raises(NotValidError):
        load(tmp_path / "latin")


@given(st.text(max_size=300))
def test_any_text_is_an_inventory_or_a_mistake(text: str) -> None:
    try:
        parse(text, "i.yaml")
    except ArintError as error:
        assert str(error)


@given(st.text(max_size=40))
def test_a_hop_never_begins_with_a_hyphen_nor_holds_a_space(text: str) -> None:
    parts = hop_parts(text)
    if parts is not None:
        assert not parts[1].startswith("-") and not any(letter.isspace() for part in parts[:2] for letter in part)
        assert 0 <= parts[2] < 65536
