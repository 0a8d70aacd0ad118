"""The parser gives the same messages however the bytes are cut, and what nats-py's own parser gives."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from arint.bus.wire_parser import WireParser

Got = tuple[int, bytes, bytes, bytes, bytes]


class Client:
    """What the parser tells its client."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.told.append((sid, subject, reply, data, headers or b""))

    def deliver(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        self.told.append((sid, subject, reply, data, headers))

    async def _process_ping(self) -> None:
        self.told.append("ping")

    async def _process_pong(self) -> None:
        self.told.append("pong")

    async def _process_err(self, text: str) -> None:
        self.told.append(text)

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.told.append(info)


subjects = st.from_regex(rb"\A[a-z0-9.]{1,20}\Z")
bodies = st.binary(max_size=60) | st.just(b"\r\nMSG a 1 2\r\n")


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    subject, reply, body = draw(subjects), draw(st.just(b"") | subjects), draw(bodies)
    head = draw(st.just(b"") | st.just(b"NATS/1.0\r\na:b\r\n\r\n"))
    sizes = b"%d %d" % (len(head), len(head) + len(body)) if head else b"%d" % len(body)
    words = [b"HMSG" if head else b"MSG", subject, b"%d" % draw(st.integers(1, 99)), *([reply] if reply else []), sizes]
    return b" ".join(words) + b"\r\n" + head + body + b"\r\n"


controls = st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'stale connection'\r\n",
                            b'INFO {"server_id":"x"}\r\n'])


@given(st.lists(messages() | controls, max_size=12), st.lists(st.integers(1, 40), min_size=1, max_size=20))
async def test_however_it_is_cut(sent: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(sent)
    plain, quick = Client(), Client()
    theirs, ours = Parser(plain), WireParser(quick, quick.deliver)
    await theirs.parse(stream)
    at = number = 0
    while at < len(stream):
        size = sizes[number % len(sizes)]
        await ours.parse(stream[at:at + size])
        at, number = at + size, number + 1
    assert quick.told == plain.told
    assert not ours.buf


@pytest.mark.parametrize("line", [b"MSG a b 3\r\nabc\r\n", b"HMSG a 1\r\n", b"WHAT is this\r\n"])
async def test_what_is_no_nats_is_refused(line: bytes) -> None:
    client = Client()
    with pytest.raises(ProtocolError):
        await WireParser(client, client.deliver).parse(line)


async def test_a_new_connection_begins_anew() -> None:
    client = Client()
    parser = WireParser(client, client.deliver)
    await parser.parse(b"MSG a 1 100\r\nhalf")
    parser.reset()
    await parser.parse(b"MSG b 2 2\r\nhi\r\n")
    assert client.told == [(2, b"b", b"", b"hi", b"")]
