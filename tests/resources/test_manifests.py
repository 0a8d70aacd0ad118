"""Manifests: all problems at once, each with its place, its path and what may be meant."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from arint.errors import NotValidError
from arint.resources.canonical import to_yaml
from arint.resources.kinds import Connection, Flow, Service
from arint.resources.manifests import Declared, Text, examine, load, load_text
from arint.resources.problems import Problem

GOOD = """
kind: Channel
name: orders-in
http: {path: /orders, auth: {api_key: {secret: orders-key}}}
to: flow/orders
---
kind: Flow
name: orders
steps:
  - validate: {schema: order.schema.json}
  - when: {if: "body.total > 1000", then: [{call: service/price}]}
  - map: {file: order.jsonata}
  - send: {to: connection/warehouse, statement: "insert into orders values (:id)"}
---
kind: Service
name: price
source: price.py:price
---
kind: Connection
name: warehouse
sql: {url: "sqlite:///${ARINT_DATA}/warehouse.db"}
---
kind: Secret
name: orders-key
from: {env: ORDERS_KEY}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "price.py").write_text("def price(body): return body\n")
    (tmp_path / "order.schema.json").write_text('{"type": "object"}')
    (tmp_path / "order.jsonata").write_text('{"id": id}\n')
    return tmp_path


def problems(folder: Path, text: str, **further: str) -> list[Problem]:
    for name, content in {"m.yaml": text, **further}.items():
        (folder / name).write_text(content)
    with pytest.raises(NotValidError) as caught:
        load([folder])
    assert caught.value.exit_code == 8
    return [problem for problem in caught.value.problems if isinstance(problem, Problem)]


def only(folder: Path, text: str) -> Problem:
    (problem,) = problems(folder, text)
    return problem


def test_what_is_referred_to_comes_first_and_files_are_inlined(folder: Path) -> None:
    (folder / "m.yaml").write_text(GOOD)
    declared = load([folder])
    assert [item.key for item in declared] == [
        "Secret/orders-key", "Connection/warehouse", "Service/price", "Flow/orders", "Channel/orders-in"]
    flow = declared[3].resource
    assert isinstance(flow, Flow)
    assert flow.steps[0] == {"validate": {"schema": {"type": "object"}}}
    assert flow.steps[2] == {"map": {"expr": '{"id": id}\n'}}
    assert (declared[2].location.line, declared[2].folder) == (15, folder)


def test_files_and_folders_and_the_same_file_twice(folder: Path) -> None:
    documents = GOOD.split("---\n")
    for index, document in enumerate(documents):
        (folder / f"{index}.{'yml' if index % 2 else 'yaml'}").write_text(document)
    assert len(load([folder, folder / "0.yaml", folder / "1.yml"])) == 5


def test_what_stays_must_still_fit_what_is_declared_anew(folder: Path) -> None:
    flow = Flow(name="orders", steps=[{"send": {"to": "connection/partner", "path": "/orders"}}])
    http = Connection(name="partner", transport="http", spec={"url": "https://partner.example.com"})
    text = "kind: Connection\nname: partner\nfile: {path: /srv/partner}\n"
    (folder / "partner.yaml").write_text(text)
    _, problems = examine([folder / "partner.yaml"], existing=[flow, http])
    [problem] = problems
    assert "partner.yaml:2:7: name: flow/orders does not fit it any more: steps[0]." in str(problem)
    assert 'unknown key "path"' in str(problem)
    renewed = "---\nkind: Flow\nname: orders\nsteps:\n  - send: {to: connection/partner, name: x.json}\n"
    (folder / "partner.yaml").write_text(text + renewed)
    assert not examine([folder / "partner.yaml"], existing=[flow, http])[1]
    (folder / "partner.yaml").write_text(text.replace("/srv/partner", "/srv/other"))
    file = Connection(name="partner", transport="file", spec={"path": "/srv/partner"})
    assert not examine([folder / "partner.yaml"], existing=[flow, file])[1], "what did not fit before is no news"


def test_existing_resources_may_be_referred_to(folder: Path) -> None:
    flow = load_text(Text("-", "kind: Flow\nname: f\nsteps: [{call: service/price}]\n", folder),
                     existing=[Service(name="price", source="price.py:price")])
    assert [item.key for item in flow] == ["Flow/f"]


def test_every_problem_is_told_at_once(folder: Path) -> None:
    found = problems(folder, GOOD.replace("http:", "htp:").replace("call: service/price", "call: service/prise")
                     .replace("source: price.py:price", "sourse: price.py:price\nreplicas: two")
                     .replace("order.schema.json", "order.json").replace("sql: {url:", "sql: {urls:"))
    said = {(problem.path, problem.suggestion) for problem in found}
    assert said >= {("htp", 'did you mean "http"?'), ("sourse", 'did you mean "source"?'),
                    ("steps[1].when.then[0].call", 'did you mean "price"?'), ("sql.urls", 'did you mean "url"?')}
    assert {problem.path for problem in found} >= {"replicas", "steps[0].validate.schema"}
    assert all(problem.line and problem.column for problem in found)
    assert found == sorted(found)


@pytest.mark.parametrize(("text", "path", "line", "message"), [
    ("kind: Service\nname: x\nsource: price.py:f\nreplicas: '2'\n", "replicas", 4, "must be a whole number, not text"),
    ("kind: Service\nname: x\nsource: price.py:f\nmode: single\n", "mode", 4, "'single' is not allowed here"),
    ("kind: Service\nname: x\nsource: price.py:f\ntimeout: 30\n", "timeout", 4, "must be text, not a number"),
    ("kind: Service\nname: x\nsource: price.py:f\nresources:\n  cpu: 0\n", "resources.cpu", 5, "must be more than 0"),
    ("kind: Service\nname: x\nsource: price.py:f\nplacement: here\n", "placement", 4, "must be a mapping"),
    ("kind: Service\nname: x\nsource: gone.py:f\n", "source", 3, "there is no file gone.py"),
    ("kind: Service\nname: Bad_Name\nsource: price.py:f\n", "name", 2, "must be a DNS label"),
    ("kind: Service\nname: x\nsource: price.py:f\nname: y\n", "name", 4, "stands here a second time"),
    ("kind: Service\nsource: price.py:f\n", "", 1, 'the key "name" is missing'),
    ("name: x\n", "", 1, 'the key "kind" is missing'),
    ("kind: servise\nname: x\n", "kind", 1, "unknown kind 'servise'"),
    ("kind: [1]\nname: x\n", "kind", 1, "unknown kind"),
    ("- 1\n", "", 1, "a resource is a mapping"),
    ("kind: Secret\nname: x\nfrom: {env: A, file: b}\n", "from", 3, "exactly one of env and file"),
    ("kind: Connection\nname: x\n", "", 1, "a transport key is missing"),
    ("kind: Connection\nname: x\nsql: {url: 'sqlite:///x'}\nhttp: {url: 'http://x'}\n", "http", 4,
     "only one transport"),
    ("kind: Channel\nname: x\nmail: {}\nto: service/x\n---\nkind: Service\nname: x\nsource: price.py:f\n", "mail", 3,
     "the transport mail has no channels"),
    ("kind: Channel\nname: x\nhttp: {path: /x}\nto: connection/y\n---\nkind: Connection\nname: y\nsql: {url: 'sqlite:///x'}\n",
     "to", 4, "a channel leads to"),
    ("kind: Connection\nname: x\nhttp: {url: 'http://x', auth: {bearer: abc}}\n", "http.auth.bearer", 3,
     "a secret value does not stand in a manifest"),
    ("kind: Connection\nname: x\nhttp: {url: 'http://x', auth: {}}\n", "http.auth", 3, "exactly one of"),
    ("kind: Connection\nname: x\nhttp: {url: 'http://x', auth: {bearer: {secret: gone}}}\n",
     "http.auth.bearer.secret", 3, 'there is no Secret "gone"'),
    ("kind: Flow\nname: f\nsteps: [{call: flow/f}]\n", "steps[0].call", 3, "the flows form a cycle: f -> f"),
    ("kind: Flow\nname: f\nsteps: []\n", "steps", 3, "must be at least of length 1"),
    ("kind: Flow\nname: f\nsteps: [{call: service/x}]\nkeep: soon\n---\nkind: Service\nname: x\nsource: price.py:f\n",
     "keep", 4, "must be such as 500ms"),
    ("kind: Service\nname: x\ncommand: [../x.pl]\n", "command[0]", 3, "leads out of the manifest's folder"),
    ("kind: Service\nname: x\ncommand: [./gone.pl]\n", "command[0]", 3, "there is no file ./gone.pl"),
    ("kind: Service\nname: x\ncommand: [./price.py]\n", "command[0]", 3, "./price.py is not executable"),
    ("kind: Service\nname: x\ncommand: []\n", "", 1, "one of the keys source and command is needed"),
    ("kind: Service\nname: x\ncommand: ['']\n", "command[0]", 3, "must be a program or an argument: not empty"),
    ("kind: Service\nname: x\ncommand: [cat]\nsource: price.py:f\n", "command", 3, "only one of source and command"),
    ("kind: Service\nname: x\nsource: price.py:f\nframing: http\n", "framing", 4, "framing belongs to a command"),
    ("kind: Service\nname: x\ncommand: [cat]\nframing: xml\n", "framing", 4, "'xml' is not allowed here"),
    ("kind: Service\nname: x\ncommand: [cat]\nenv: {ARINT_X: y}\n", "env.ARINT_X", 4,
     "that begin with ARINT_ are taken"),
    ("kind: Service\nname: x\ncommand: [cat]\nenv: {A: {secret: gone}}\n", "env.A.secret", 4, 'no Secret "gone"'),
    ("kind: Service\nname: x\ncommand: [cat]\nresources:\n  memory: lots\n", "resources.memory", 5,
     "such as 256KiB"),
    ("kind: Service\nname: x\ncommand: [cat]\nuser: a b\n", "user", 4, "must be a user's name"),
    ("a: [1, 2\nb: 3\n", "", 2, "this is no YAML"),
    ("a: *gone\n", "", 1, "no anchor"),
])
def test_one_mistake_is_one_problem_in_its_place(folder: Path, text: str, path: str, line: int, message: str) -> None:
    problem = only(folder, text)
    assert (problem.path, problem.line) == (path, line)
    assert message in problem.message
    assert str(problem).startswith(f"{folder / 'm.yaml'}:{line}:")


@pytest.mark.parametrize(("text", "remedy"), [
    ("kind: Connection\nname: x\nsql: {url: 'postgresql://joe:geheim@db/x'}\n", "password: {secret: NAME}"),
    ("kind: Connection\nname: x\nsql: {url: 'postgresql://db/x?user=joe&password=geheim'}\n",
     "password: {secret: NAME}"),
    ("kind: Connection\nname: x\nhttp: {url: 'https://joe:geheim@host/x'}\n",
     "basic: {user: USER, password: {secret: NAME}}"),
    ("kind: Service\nname: x\nsource: price.py:f\nconfig: {a: ['https://joe:geheim@host']}\n", "{secret: NAME}"),
])
def test_a_password_in_a_url_is_refused_and_not_repeated(folder: Path, text: str, remedy: str) -> None:
    problem = only(folder, text)
    assert problem.message == "a URL must not hold a password"
    assert remedy in problem.suggestion
    assert "geheim" not in str(problem)


def test_a_url_without_a_password_is_fine(folder: Path) -> None:
    (folder / "m.yaml").write_text("kind: Connection\nname: x\nsql: {url: 'postgresql://joe@db:5432/x?at=a:b@c'}\n")
    assert len(load([folder])) == 1


def test_declared_twice_names_the_other_place(folder: Path) -> None:
    service = "kind: Service\nname: x\nsource: price.py:f\n"
    (problem,) = problems(folder, service, **{"n.yaml": service})
    assert problem.message == "Service/x is declared twice"
    assert f"{folder / 'm.yaml'}:1" in problem.suggestion


def test_a_document_with_a_mistake_is_still_there_for_references(folder: Path) -> None:
    problem = only(folder, "kind: Flow\nname: f\nsteps: [{call: service/x}]\n---\n"
                           "kind: Service\nname: x\nsource: price.py:f\nreplicas: -1\n")
    assert problem.path == "replicas"


def test_options_of_an_enrich_too(folder: Path) -> None:
    problem = only(folder, "kind: Flow\nname: f\nsteps:\n"
                           "- enrich: {from: connection/w, into: vars.x, ask: body, statement: x, statment: y}\n---\n"
                           "kind: Connection\nname: w\nsql: {url: 'sqlite:///x'}\n")
    assert (problem.path, problem.message) == ("steps[0].enrich.statment", 'unknown key "statment"')
    problem = only(folder, "kind: Flow\nname: f\nsteps: [{enrich: {from: service/x, into: vars.x}}]\n")
    assert (problem.path, problem.message) == ("steps[0].enrich.from", 'there is no Service "x"')


def test_options_of_a_send_are_those_of_the_connections_transport(folder: Path) -> None:
    problem = only(folder, "kind: Flow\nname: f\nsteps:\n- send: {to: connection/w, statement: x, statment: y}\n---\n"
                           "kind: Connection\nname: w\nsql: {url: 'sqlite:///x'}\n")
    assert (problem.path, problem.message) == ("steps[0].send.statment", 'unknown key "statment"')


def test_cycles_through_several_flows_are_told_once(folder: Path) -> None:
    problem = only(folder, "kind: Flow\nname: a\nsteps: [{call: flow/b}]\n---\nkind: Flow\nname: b\n"
                           "steps: [{try: [{send: {to: flow/c}}], catch: [{log: x}]}]\n---\n"
                           "kind: Flow\nname: c\nsteps: [{call: flow/a}]\n")
    assert problem.message == "the flows form a cycle: a -> b -> c -> a"


def test_steps_are_checked_by_their_own_types(folder: Path) -> None:
    found = problems(folder, "kind: Flow\nname: f\nsteps:\n  - cal: service/x\n  - when: {if: 'body.', then: []}\n")
    assert {problem.line for problem in found} >= {4, 5}


@pytest.mark.parametrize(("content", "message"), [
    (b"\xff\xfe", "this is not UTF-8"), (b"#" * (5 * 2**20 + 1), "larger than"), (b"a: \x00", "control characters"),
])
def test_files_that_are_no_text(folder: Path, content: bytes, message: str) -> None:
    (folder / "m.yaml").write_bytes(content)
    with pytest.raises(NotValidError) as caught:
        load([folder])
    assert message in str(caught.value.problems[0])


def test_what_is_not_there(folder: Path) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(NotValidError) as caught:
        load([folder / "gone.yaml", folder / "empty"])
    assert [problem.message for problem in caught.value.problems if isinstance(problem, Problem)] == [
        "holds no manifest", "cannot be read: No such file or directory"]


@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"a": "' + "x" * 300_000 + '"}'])
def test_an_inlined_file_that_does_not_hold(folder: Path, content: str) -> None:
    (folder / "order.schema.json").write_text(content)
    problem = only(folder, "kind: Flow\nname: f\nsteps: [{validate: {schema: order.schema.json}}]\n")
    assert problem.path == "steps[0].validate.schema"


def test_a_resource_is_bounded(folder: Path) -> None:
    text = f"kind: Service\nname: x\nsource: price.py:f\nconfig: {{a: '{'x' * 300_000}'}}\n"
    assert "a resource is at most 262144" in only(folder, text).message


def test_broken_documents_do_not_hide_those_before_them(folder: Path) -> None:
    found = problems(folder, "kind: Service\nname: x\n---\na: [\n")
    assert [problem.message[:16] for problem in found] == ["one of the keys ", "this is no YAML:"]


@pytest.mark.parametrize("example", [False, True])
def test_exported_then_loaded_is_the_same(folder: Path, example: bool) -> None:
    (folder / "m.yaml").write_text(GOOD)
    place = Path(__file__).parents[2] / "examples" / "orders" if example else folder
    first: list[Declared] = load([place])
    assert len(first) >= 5
    again = load_text(Text("export", to_yaml(item.resource for item in first), place))
    assert [item.resource for item in again] == [item.resource for item in first]


def test_standard_input_is_a_manifest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"kind: Flow\nname: a\nsteps: [{validate: {schema: s.json}}]\n"))
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.json").write_text("{}")
    (found,) = load(["-"])
    assert (found.key, found.location.file, found.folder) == ("Flow/a", "-", tmp_path)
