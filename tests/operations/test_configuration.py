"""Plan, apply, delete, rollback, export against a real etcd. There is no agent: nobody is waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from arint.errors import ConflictError, NotFoundError, NotValidError
from arint.home import Home
from arint.operations.configuration import ApplyArguments, apply, delete, plan, rollback
from arint.operations.connect import Link
from arint.operations.desired import desired_from
from arint.operations.history import applied, history
from arint.operations.inventory import describe, export, get
from arint.security.sealing import Sealer

MANIFEST = """
kind: Secret
name: key
from: {{file: key.txt}}
---
kind: Connection
name: db
sql: {{url: "sqlite:///${{ARINT_DATA}}/x.db"}}
---
kind: Service
name: price
source: price.py:price
replicas: {replicas}
---
kind: Flow
name: orders
steps:
  - call: service/price
  - send: {{to: connection/db, statement: "insert into t values (:id)"}}
---
kind: Channel
name: orders-in
http: {{path: /orders, auth: {{api_key: {{secret: key}}}}}}
to: flow/orders
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "all.yaml").write_text(MANIFEST.format(replicas=1))
    (tmp_path / "price.py").write_text("def price(order: dict) -> dict:\n    return order\n")
    (tmp_path / "key.txt").write_text("opensesame\n")
    return tmp_path


def arguments(*paths: Path, **more: object) -> ApplyArguments:
    return ApplyArguments(paths=paths, wait=False, **more)  # type: ignore[arg-type]


async def test_what_is_planned_is_applied_kept_and_exported(link: Link, home: Home, folder: Path) -> None:
    planned = await plan(link, arguments(folder))
    made = await apply(link, arguments(folder, check=planned.check))
    assert made.changes == planned.changes
    assert made.change_set == planned.check + 1
    assert (await plan(link, arguments(folder))).changes == ()

    _, resources = await applied(link)
    service, secret = resources["Service/price"], resources["Secret/key"]
    assert (home.artifact(service.code) / "price.py").exists()  # type: ignore[union-attr]
    sealed = await (await link.secrets()).get("key", secret.digest)  # type: ignore[union-attr]
    assert b"opensesame" not in sealed
    assert Sealer.load(home).unseal("key", sealed) == b"opensesame"

    again = folder / "elsewhere"
    again.mkdir()
    (again / "export.yaml").write_text(await export(link))
    assert (await plan(link, arguments(again, prune=True))).changes == ()

    views = await get(link, ("channels", "service/price"))
    assert [view.name for view in views] == ["price", "orders-in"]
    assert views[1].status["url"].endswith("/orders")
    told = await describe(link, "service/price")
    assert told.used_by == ("Flow/orders",)
    with pytest.raises(NotFoundError, match="price"):
        await get(link, ("service/prize",))


async def test_changes_conflict_roll_back_and_are_refused_while_used(link: Link, folder: Path) -> None:
    first = await apply(link, arguments(folder))
    (folder / "all.yaml").write_text(MANIFEST.format(replicas=2))
    with pytest.raises(ConflictError, match="plan again"):
        await apply(link, arguments(folder, check=first.change_set + 7))
    second = await apply(link, arguments(folder, message="more"))
    assert [(change.kind, change.action) for change in second.changes] == [("Service", "changed")]

    with pytest.raises(ConflictError, match="flow/orders"):
        await delete(link, ["Service/price"], wait=False)
    with pytest.raises(NotFoundError):
        await delete(link, ["Service/other"], wait=False)

    back = await rollback(link, None, wait=False)
    assert back.change_set == second.change_set + 1
    _, resources = await applied(link)
    assert resources["Service/price"].replicas == 1  # type: ignore[union-attr]
    kept = await history(link)
    assert kept[0].is_head
    assert kept[0].changed == ("Service/price",)
    assert kept[1].message == "more"

    gone = await delete(link, ["Channel/orders-in", "Flow/orders"], wait=False)
    assert {change.action for change in gone.changes} == {"removed"}
    dry = await delete(link, ["Service/price"], wait=False, dry_run=True)
    assert len(dry.changes) == 1
    assert "Service/price" in (await applied(link))[1]


async def test_all_problems_at_once_and_nothing_applied(link: Link, folder: Path) -> None:
    before, _ = await applied(link)
    (folder / "all.yaml").write_text(MANIFEST.format(replicas=1) + """---
kind: Secret
name: fresh
from: {file: nowhere.txt}
---
kind: Secret
name: other
from: {env: ARINT_TEST_NOT_SET}
""")
    with pytest.raises(NotValidError) as raised:
        await apply(link, arguments(folder))
    told = "\n".join(map(str, raised.value.problems))
    assert "nowhere.txt" in told
    assert "ARINT_TEST_NOT_SET" in told
    assert f"{folder / 'all.yaml'}:28:" in told
    assert (await applied(link))[0] == before


async def test_prune_removes_what_is_not_declared(link: Link, folder: Path) -> None:
    await apply(link, arguments(folder))
    other = folder / "other"
    other.mkdir()
    (other / "one.yaml").write_text("kind: Connection\nname: db\nsql: {url: 'sqlite:///x.db'}\n")
    planned = await plan(link, arguments(other, prune=True))
    assert {change.action for change in planned.changes} == {"changed", "removed"}
    await apply(link, arguments(other, prune=True))
    assert set((await applied(link))[1]) == {"Connection/db"}


def test_secrets_are_told_with_all_other_problems(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "kind: Secret\nname: key\nfrom: {env: ARINT_TEST_NOT_SET}\n---\n"
        "kind: Flow\nname: f\nsteps:\n  - call: service/nobody\n---\n"
        "kind: Channel\nname: c\nhtp: {path: /c}\nto: flow/f\n")
    with pytest.raises(NotValidError) as caught:
        desired_from(Home(tmp_path / "home"), [tmp_path / "all.yaml"], {}, prune=False)
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 3, told
    assert "$ARINT_TEST_NOT_SET is not set" in told[0]
    assert '"nobody"' in told[1]
    assert '"htp"' in told[2]
