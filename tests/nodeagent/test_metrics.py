"""The node's metrics, as Prometheus scrapes them from the real agent; and what it is asked that is no scrape."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from nodeagent.measuring import FAMILIES
from nodeagent.metrics_page import MetricsPage
from tests.nodeagent.support import Node, make_home
from tests.patience import PATIENCE


async def test_the_node_tells_its_metrics(node: Node) -> None:
    status = await node.until(lambda status: status.ready and status.metrics)
    assert status.metrics == f"http://127.0.0.1:{node.home.load().ports.metrics}/metrics"
    async with httpx.AsyncClient() as client:
        answer = await client.get(status.metrics)
        head = await client.head(status.metrics)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert head.text == "" and int(head.headers["content-length"]) > 0
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    values = {(sample.name, *sorted(sample.labels.values())): sample.value
              for family in families.values() for sample in family.samples}
    runner = ("runner-1", "system/runner")
    assert values["arint_node_ready",] == 1
    assert values["arint_engine_up", "etcd"] == values["arint_engine_up", "nats"] == 1
    assert values["arint_worker_ready", *runner] == 1
    assert values["arint_messages_processed_total", *runner] == 7
    assert values["arint_process_resident_memory_bytes", "agent"] > 2**20
    assert values["arint_process_cpu_seconds_total", "agent"] > 0
    assert values["arint_test_things_total", "orders", *runner] == 3, "what the worker counted itself"
    assert {f"{name}_total" if family.type == "counter" else name for name, family in families.items()} \
        <= {*FAMILIES, "arint_test_things_total"}
    assert (await node.status()).memory <= 45 * 2**20, "DESIGN, section 7"


async def test_a_port_that_is_taken_holds_up_nothing(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        config = home.load()
        ports = msgspec.structs.replace(config.ports, metrics=taken.getsockname()[1])
        home.save(msgspec.structs.replace(config, ports=ports))
        node = Node(home)
        try:
            node.start()
            assert (await node.until_ready()).metrics == ""
        finally:
            node.close()


async def asked(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    async with asyncio.timeout(PATIENCE):
        said = await reader.read()
    writer.close()
    return said


async def test_what_is_no_scrape_is_told_or_shown_the_door() -> None:
    page = MetricsPage(0, lambda: "arint_node_ready 1\n")
    running = asyncio.create_task(page.run())
    async with asyncio.timeout(PATIENCE):
        while not page.url:
            await asyncio.sleep(0.01)
    port = int(page.url.rpartition(":")[2].partition("/")[0])
    page_text = await asked(port, b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert page_text.endswith(b"\r\n\r\narint_node_ready 1\n")
    assert (await asked(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    assert (await asked(port, b"POST /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
    assert await asked(port, b"\x00" * 20_000) == b""
    assert await asked(port, b"GET /metrics HTTP/1.1\r\n") == b""
    running.cancel()
    await asyncio.wait([running])
    assert page.url == ""
