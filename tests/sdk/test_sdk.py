"""How a message becomes an argument, a result a body; what a context gives."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

import arint
from arint import Context, Message, MessageError, RejectedError, service
from arint.errors import NotFoundError, NotValidError
from arint.sdk import Handler
from arint.testing import run_service


class Order(msgspec.Struct):
    id: str
    qty: int = 1


@dataclass
class Plain:
    id: str
    qty: int = 1


def test_payloads_by_annotation():
    body = {"id": "a", "qty": 2}
    assert run_service(lambda order: order["qty"], body).value == 2

    def struct(order: Order) -> Any:
        return order.qty

    def plain(order: Plain) -> Any:
        return order.qty

    def mapping(order: dict[str, Any]) -> Any:
        return order["qty"]

    def raw(order: bytes) -> Any:
        return len(order)

    def text(order: str) -> Any:
        return order[:1]

    def whole(order: Message) -> Any:
        return order.headers

    def optional(order: Order | None = None) -> Any:
        return order is None

    assert [run_service(function, body).value for function in (struct, plain, mapping)] == [2, 2, 2]
    assert run_service(raw, b"\xff\xff").value == 2
    assert run_service(text, "é".encode()).value == "é"
    assert run_service(whole, b"", headers={"a": "b"}).value == {"a": "b"}
    assert run_service(optional, b"null").value is True
    assert run_service(lambda: 5, b"never read").value == 5


def test_what_does_not_fit_is_rejected_with_the_place():
    def lines(order: list[Order]) -> None: ...

    with pytest.raises(RejectedError, match=r"body\[1\]\.qty.*Expected `int`, got `str`"):
        run_service(lines, [{"id": "a"}, {"id": "b", "qty": "x"}])
    for body, why in ((b"", "empty"), (b"{", "not JSON"), (b'["\xff"]', "not"), (b"[" * 100_000, "deep"),
                      (b'[{"a":' * 50_000, "deep")):
        with pytest.raises(RejectedError, match=why):
            run_service(lambda order: None, body)

    def text(order: str) -> None: ...

    with pytest.raises(RejectedError, match="not UTF-8: byte 1"):
        run_service(text, b"a\xff")


def test_results():
    kept = run_service(lambda order: None, b'{ "a":1 }', content_type="application/x")
    assert (kept.message.body, kept.message.content_type) == (b'{ "a":1 }', "application/x")
    raw = run_service(lambda order: b"\x00", b"1", content_type="image/png")
    assert (raw.message.body, raw.message.content_type) == (b"\x00", "image/png")
    assert run_service(lambda order: Order("x"), b"1").value == {"id": "x", "qty": 1}
    assert run_service(lambda order: Plain("x"), b"1").message.content_type == "application/json"
    with pytest.raises(MessageError, match="cannot be written as JSON"):
        run_service(lambda order: object(), b"1")


def test_a_message_returned_keeps_who_it_is():
    given = Message.new(b"1", channel="in")
    result = run_service(lambda order: Message(id="forged", root="forged", body=b"2", headers={"a": "b"}), given)
    assert (result.message.id, result.message.root, result.message.channel) == (given.id, given.root, "in")
    assert (result.message.body, result.message.headers) == (b"2", {"a": "b"})


def test_the_context():
    def work(order: Order, ctx: Context) -> dict[str, Any]:
        ctx.log.info("working on %s", order.id)
        return {"rate": ctx.config["rate"], "key": ctx.secret("key"), "id": ctx.message.id, "left": ctx.remaining > 5}

    result = run_service(work, {"id": "a"}, config={"rate": 2}, secrets={"key": "s3"}, deadline=4e9)
    assert result.value == {"rate": 2, "key": "s3", "id": result.message.id, "left": True}
    with pytest.raises(NotFoundError, match="no secret other"):
        run_service(lambda order, ctx: ctx.secret("other"), b"1")


def test_what_is_sent_leaves_with_the_result_and_has_the_same_id_each_time():
    def work(order: Order, ctx: Context) -> None:
        ctx.send("flow/x", {"a": 1}, headers={"X-A": "1"})
        ctx.send("flow/x", {"a": 1})
        ctx.send("service/y")
        ctx.publish("prices", b"raw")

    given = Message.new(b'{"id":"a"}')
    first, again = run_service(work, given), run_service(work, given)
    assert [sent.target for sent in first.sent] == ["flow/x", "flow/x", "service/y", "topic/prices"]
    assert [sent.message.body for sent in first.sent] == [b'{"a":1}', b'{"a":1}', given.body, b"raw"]
    ids = [sent.message.id for sent in first.sent]
    assert ids == [sent.message.id for sent in again.sent] and len({*ids, given.id}) == 5
    assert all(sent.message.root == given.root and sent.message.cause == given.id for sent in first.sent)
    assert first.sent[0].message.headers == {"x-a": "1"}
    with pytest.raises(RejectedError, match="cannot be sent to"):
        run_service(lambda order, ctx: ctx.send("topic/x"), b"1")


def test_what_is_sent_to_a_connection_has_its_options():
    def work(order: Order, ctx: Context) -> None:
        ctx.send("connection/db", {"a": 1}, statement="insert into t values (:a)")

    (sent,) = run_service(work, Message.new(b'{"id":"a"}')).sent
    assert (sent.target, sent.value) == ("connection/db", {"a": 1})
    assert sent.options == {"statement": "insert into t values (:a)"}
    with pytest.raises(RejectedError, match="only a connection takes statement"):
        run_service(lambda order, ctx: ctx.send("flow/x", statement="x"), b"1")


def test_the_same_service_in_two_stages_sends_two_messages():
    given = Message.new(b"1")
    ids = {Context(given, service="s", stage=stage).send("flow/x") for stage in ("a-start", "a-1-call-s")}
    assert len(ids) == 2


async def test_calls():
    async def asks(order: dict[str, Any], ctx: Context) -> Any:
        answer = await ctx.call("service/rate", {"for": order["id"]}, result=dict)
        return {"rate": answer["rate"], "whole": type(await ctx.call("rate")).__name__}

    def asks_and_waits(order: dict[str, Any], ctx: Context) -> Any:
        return ctx.call_and_wait("rate", result=dict, timeout=5)

    services = {"rate": lambda order: {"rate": 4, "for": order.get("for")}}
    assert run_service(asks, {"id": "a"}, services=services).value == {"rate": 4, "whole": "Message"}
    assert run_service(asks_and_waits, {"id": "a"}, services=services).value["rate"] == 4
    ids: list[str] = []

    async def asks_twice(order: Any, ctx: Context) -> None:
        await asyncio.gather(ctx.call("noted"), ctx.call("noted"))

    run_service(asks_twice, b"1", services={"noted": lambda message, ctx: ids.append(ctx.message.id)})
    assert len(set(ids)) == 2
    with pytest.raises(NotFoundError, match="nothing stands for service/rate"):
        run_service(asks, {"id": "a"})
    with pytest.raises(RejectedError):
        run_service(asks, {"id": "a"}, services={"rate": RejectedError("no")})


def test_without_async_it_runs_in_a_thread_and_with_it_in_the_loop():
    def thread(order: Any) -> str:
        return threading.current_thread().name

    async def loop(order: Any) -> bool:
        return asyncio.get_running_loop() is not None

    async def main() -> tuple[str, str]:
        message = Message.new(b"1")
        in_thread = await Handler(thread).handle(message, Context(message))
        await Handler(loop).handle(message, Context(message))
        return threading.current_thread().name, msgspec.json.decode(in_thread.message.body)

    here, there = asyncio.run(main())
    assert here != there


def leaves(order: Any) -> None:
    sys.exit(3)


async def leaves_too(order: Any) -> None:
    sys.exit(3)


def stops(order: Any) -> None:
    raise StopIteration


@pytest.mark.parametrize("function", [leaves, leaves_too, stops])
def test_what_would_end_the_worker_is_a_failure_of_the_message(function):
    with pytest.raises(MessageError, match=r"sys\.exit|StopIteration"):
        run_service(function, b"1")


class Counting:
    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, order: Any) -> int:
        self.count += 1
        return self.count


def test_classes_and_their_instances_are_services_too():
    handler = Handler(Counting)
    assert handler.is_async
    message = Message.new(b"1")
    bodies = [asyncio.run(handler.handle(message, Context(message))).message.body for _ in range(2)]
    assert bodies == [b"1", b"2"]


def test_signatures_that_cannot_be_served_say_so():
    def two(order: Any, other: Any) -> None: ...
    def unknown(order: NoSuchType) -> None: ...  # noqa: F821
    def strange(order: threading.Thread) -> None: ...

    for function, why in ((two, "more than a payload"), (unknown, "NoSuchType"), (strange, "no body can become")):
        with pytest.raises(NotValidError, match=why):
            service(function)

    def further(order: Any, ctx: Context, *, option: int = 1, **rest: Any) -> None: ...
    def only_context(ctx: Context) -> None: ...

    assert service(further) is further
    assert service(only_context) is only_context


def test_import_arint_loads_nothing_and_gives_everything():
    assert set(arint.__all__) <= set(dir(arint))
    for name in arint.__all__:
        assert getattr(arint, name) is not None
    with pytest.raises(AttributeError):
        arint.nothing  # noqa: B018
    code = "import sys, arint; sys.exit(any(m.startswith(('arint.', 'msgspec', 'asyncio')) for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    heavy = ("import sys, arint.flows, arint.sdk; "
             "sys.exit(bool({'cel', 'jsonata', 'jsonschema_rs', 'nats', 'grpc'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0
