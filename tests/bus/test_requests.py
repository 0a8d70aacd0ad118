import asyncio

import pytest

from arint.bus import requests, subjects
from arint.errors import MessageError, RejectedError, TimedOutError, UnreachableError
from arint.message import Message
from tests.patience import PATIENCE

SUBJECT = subjects.rpc("price")


async def test_a_message_goes_and_another_comes_back(bus):
    async def answerer(message: Message, left: float) -> Message:
        assert 0 < left <= 5
        return message.derive("price", 0, body=message.body.upper())

    subscription = await requests.answer(bus, SUBJECT, answerer)
    sent = Message.new(b"abc", correlation_id="c-1", headers={"x": "ü"})
    got = await requests.ask(bus, SUBJECT, sent, 5)
    assert (got.body, got.root, got.correlation_id, got.cause) == (b"ABC", sent.root, "c-1", sent.id)
    await subscription.close()


async def test_errors_come_back_as_what_they_were(bus):
    raised: list[Exception] = [RejectedError("no lines", where="body.lines"), ValueError("boom")]

    async def answerer(message: Message, left: float) -> Message:
        raise raised.pop(0)

    subscription = await requests.answer(bus, SUBJECT, answerer)
    with pytest.raises(RejectedError, match="no lines") as caught:
        await requests.ask(bus, SUBJECT, Message.new(b""), 5)
    assert caught.value.where == "body.lines"
    with pytest.raises(MessageError, match="ValueError: boom"):
        await requests.ask(bus, SUBJECT, Message.new(b""), 5)
    await subscription.close()


async def test_nobody_and_nothing_in_time(bus):
    with pytest.raises(UnreachableError):
        await requests.ask(bus, SUBJECT, Message.new(b""), 1)
    ended = asyncio.Event()

    async def answerer(message: Message, left: float) -> Message:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    subscription = await requests.answer(bus, SUBJECT, answerer)
    with pytest.raises(TimedOutError):
        await requests.ask(bus, SUBJECT, Message.new(b""), 0.2)
    await asyncio.wait_for(ended.wait(), PATIENCE)  # the work ends with the deadline too
    await subscription.close()
