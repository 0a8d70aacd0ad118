"""The shop example, whole: a running home, a real PostgreSQL, a real mail server, a partner that is away at first."""

from __future__ import annotations

import email
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from arint.ports import free_port
from arint.testing import FlowTest
from tests.databases import PASSWORD, DatabaseServer
from tests.hostile.system import System, eventually

EXAMPLES = Path(__file__).parents[2] / "examples"
SHOP = EXAMPLES / "shop"
PRICES = {"TEA-ASSAM": 790, "TEA-SENCHA": 1150, "POT-1L": 3900, "CUP-BLUE": 1250}
BY_FILE, BY_HTTP, INVALID = ("F-1", "F-2", "F-4"), ("W-1", "W-2"), "F-3"
KEY = "the-key-of-the-new-shop"
EXPECTED = sorted(BY_FILE + BY_HTTP)


def looked_up(sent: Any) -> Any:
    """What stands for the stock in memory: one query asks for the lines, the other takes them."""
    if "returning" in sent.options["statement"]:
        return len(sent.value["lines"])
    return [line | {"title": line["article"].title(), "cents": PRICES.get(line["article"])}
            for line in sent.value["lines"]]


def test_an_order_in_memory() -> None:
    run = FlowTest(SHOP, connections={"stock": looked_up}).run((SHOP / "samples/tea.json").read_bytes())
    assert run.failure is None
    [mail] = run.sent_to("connection/post")
    assert "Total 54.80 EUR, of which 8.75 EUR VAT (19 %)" in mail.value["invoice"]
    [partnered] = run.sent_to("connection/partner")
    assert partnered.value["total_cents"] == 5480
    assert "invoice" not in partnered.value


def test_what_the_shop_does_not_sell_is_never_invoiced() -> None:
    order = json.loads((SHOP / "samples/cups.json").read_bytes())
    order["lines"][0]["article"] = "MOON"
    run = FlowTest(SHOP, connections={"stock": looked_up}).run(order)
    assert run.failure is not None
    assert "no article MOON" in run.failure.message
    assert not run.sent_to("connection/post")


class Post:
    """A customer's letter box."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        mail: Any = email.message_from_bytes(envelope.original_content or b"", policy=default)
        self.mails.append(mail)
        return "250 taken"


@pytest.fixture
def post() -> Iterator[tuple[Post, int]]:
    box, port = Post(), free_port()
    controller = Controller(box, hostname="127.0.0.1", port=port, ready_timeout=30)
    controller.start()
    yield box, port
    controller.stop()


@pytest.fixture
def partner() -> Iterator[httpx.Client]:
    """The partner, at night."""
    process = subprocess.Popen([sys.executable, str(EXAMPLES / "orders/partner.py"), "--port", "0", "--schedule",
                                "failing"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().split()[-1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield client
    process.terminate()
    process.wait(5)
    process.stdout.close()


def address(partner: httpx.Client) -> str:
    return str(partner.base_url).rstrip("/")


@pytest.fixture
def system(tmp_path: Path, postgres: DatabaseServer, post: tuple[Post, int], partner: httpx.Client) -> Iterator[System]:
    """A home to which the shop is applied, as README.md says; `database` is where its stock is."""
    database = postgres.new_database()
    postgres.execute((SHOP / "stock.sql").read_text(), database=database)
    shutil.copytree(SHOP, tmp_path / "shop")
    (tmp_path / "shop/here.yaml").write_text(yaml.safe_dump({"kind": "Variables", "name": "here", "values": {
        "STOCK_URL": postgres.url(database), "MAIL_HOST": "127.0.0.1", "MAIL_PORT": str(post[1]),
        "PARTNER_URL": address(partner)}}))
    for name, value in (("shop.key", KEY), ("partner.token", "token"), ("stock.password", PASSWORD)):
        (tmp_path / "shop" / name).write_text(value + "\n")
    with System(tmp_path) as system:
        system.ctl("apply", "shop")
        system.database = database  # type: ignore[attr-defined]
        yield system


def test_every_order_once_though_the_partner_is_away(
        system: System, postgres: DatabaseServer, post: tuple[Post, int], partner: httpx.Client) -> None:
    database = system.database  # type: ignore[attr-defined]

    def order(sample: str) -> str:
        body = json.loads((SHOP / f"samples/{sample}.json").read_bytes())
        if "reply_to" in body:
            body["reply_to"] = f"{address(partner)}/callbacks"
        return system.post("/shop/orders", json.dumps(body).encode(), X_API_Key=KEY)

    shutil.copy(SHOP / "samples/monday.csv", system.home / "data/orders/monday.csv")
    tea = order("tea")
    order("cups")
    # At night: stock is taken, customers have their mail, the partner is waited for
    eventually(lambda: len(post[0].mails) == len(EXPECTED))
    # It has met the partner itself, or the circuit that another order's delivery opened
    eventually(lambda: "waits for" in system.ctl("why", tea), explain=lambda: system.ctl("why", tea))
    eventually(lambda: "partner" in system.ctl("status"))
    assert partner.get("/received").json()["orders"] == []
    again = order("tea")
    # In the morning
    partner.post("/control", json={"mode": "ok"})
    eventually(lambda: system.json("why", tea)["state"] == "done", explain=lambda: system.ctl("why", tea))
    eventually(lambda: postgres.execute("select count(*) from orders where at_partner is not null",
                                        database=database) == [(len(EXPECTED),)])
    received = partner.get("/received").json()
    assert sorted(one["id"] for one in received["orders"]) == EXPECTED
    assert [one["id"] for one in received["callbacks"]] == ["W-1"]
    rows = postgres.execute("select id, total_cents from orders order by id", database=database)
    assert [row[0] for row in rows] == EXPECTED
    assert dict(rows)["W-1"] == 5480
    # One order came twice: stock is taken, and a mail sent, once
    eventually(lambda: system.json("why", again)["hops"][-1]["state"] == "filtered")
    assert dict(postgres.execute("select article, quantity from stock", database=database)) == {
        "TEA-ASSAM": 100 - 12 - 2, "TEA-SENCHA": 40 - 3, "POT-1L": 6 - 1, "CUP-BLUE": 48 - 8 - 12}
    assert Counter(mail["Subject"] for mail in post[0].mails) == {f"Your order {known}": 1 for known in EXPECTED}
    for mail in post[0].mails:
        [invoice] = mail.iter_attachments()
        assert invoice.get_filename() == f"invoice-{mail['Subject'].split()[-1]}.html"
    # The row that is none
    [letter] = system.json("dlq", "list")
    shown = system.json("dlq", "show", letter["message"])
    assert "qty: no number" in shown["letter"]["error"]
    assert (shown["headers"]["file-name"], shown["headers"]["file-record"]) == ("monday.csv", "2")
    assert INVALID in shown["body"]
