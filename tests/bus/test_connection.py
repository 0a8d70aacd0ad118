import asyncio

import pytest

from arint.bus import headers
from arint.bus.connection import Bus, Request
from arint.errors import TimedOutError, UnreachableError
from arint.ports import free_port
from arint.runtime.control import BusSettings


async def test_request_and_reply_over_mutual_tls(nats_tls_server, settings):
    async with await Bus.connect(settings(nats_tls_server), name="tls") as bus:
        async def echo(request: Request) -> None:
            request.respond(request.body[::-1], {"Said": headers.decode(request.header)["Say"]})

        subscription = await bus.subscribe("rpc.echo", "q", echo)
        reply = await bus.request("rpc.echo", b"abc", headers={"Say": "ä: b"})
        assert (reply.body, headers.decode(reply.header)) == (b"cba", {"Said": "ä: b"})
        await subscription.close()
        with pytest.raises(UnreachableError, match="nobody answers"):
            await bus.request("rpc.echo", b"abc")


async def test_a_client_without_a_certificate_is_refused(nats_tls_server):
    with pytest.raises(UnreachableError):
        await Bus.connect(BusSettings((nats_tls_server.server,), "", "", ""), timeout=1.5)


async def test_nobody_there_is_said_with_the_address_and_a_remedy():
    address = f"nats://127.0.0.1:{free_port()}"
    with pytest.raises(UnreachableError) as caught:
        await Bus.connect(BusSettings((address,), "", "", ""), timeout=0.5)
    assert address in str(caught.value) and caught.value.remedy


async def test_a_silent_answerer_is_a_timeout(bus):
    async def silent(request: Request) -> None:
        await asyncio.Event().wait()

    subscription = await bus.subscribe("silent", "q", silent)
    with pytest.raises(TimedOutError):
        await bus.request("silent", timeout=0.1)
    await subscription.close(grace=0)


@pytest.mark.parametrize("tls", [False, True])
async def test_it_comes_back_after_a_kill_with_its_subscriptions(nats_factory, settings, until, tls):
    server = nats_factory(tls=tls)
    async with await Bus.connect(settings(server)) as bus:
        downs, ups = [], []
        bus.on_down.add(lambda: downs.append(1))
        bus.on_up.add(lambda: ups.append(1))

        async def echo(request: Request) -> None:
            request.respond(request.body)

        await bus.subscribe("rpc.echo", "", echo)
        server.kill()
        await until(lambda: not bus.connected)
        server.start(wait=False)
        await bus.wait_connected(10)
        assert (await bus.request("rpc.echo", b"again")).body == b"again"
        assert downs == [1] and ups == [1]


async def test_a_silent_broker_is_seen_within_ten_seconds_and_found_again(nats_factory, settings, until):
    server = nats_factory(tls=True)
    async with await Bus.connect(settings(server)) as bus:
        server.pause()
        await until(lambda: not bus.connected, 10)
        server.resume()
        await bus.wait_connected(10)
        with pytest.raises(UnreachableError, match="nobody"):
            await bus.request("rpc.nothing")


async def test_a_request_under_way_fails_at_once_when_the_connection_breaks(bus, nats_server):
    async def silent(request: Request) -> None:
        nats_server.kill()

    await bus.subscribe("silent", "", silent)
    with pytest.raises(UnreachableError, match="broke"):
        await bus.request("silent", timeout=30)


def test_a_line_break_in_a_header_is_refused():
    with pytest.raises(ValueError, match="line break"):
        headers.encode({"a": "b\r\nNats-Rollup:all"})


def test_headers_are_read_as_they_were_written():
    block = headers.VERSION + headers.encode({"Arint": b'{"a":"b: c"}', "X": "ü"}) + b"\r\n"
    assert headers.decode(block) == {"Arint": '{"a":"b: c"}', "X": "ü"}
    assert headers.find(block, b"Arint") == b'{"a":"b: c"}'
    assert headers.find(block, b"rint") is None
    assert headers.status(block) == 0
    assert headers.status(b"NATS/1.0 408 Request Timeout\r\n\r\n") == 408
