"""Large bodies: kept beside the messages, part by part, under claim checks that the messages carry.

What refers to a body is noted beside it *before* it is stored, so that the sweep (`arint.bus.sweep`) knows where to
look, and that somebody is about to store a reference. Each body has a name that no other ever has: what is swept is
never written again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence

import msgspec

from arint.bus import lookup, streams, subjects
from arint.bus.committer import Committer
from arint.bus.connection import Bus
from arint.errors import ArintError, BodyLostError, NotFoundError, RejectedError
from arint.message import LARGEST_BODY, LARGEST_INLINE, Claim, Message, StoredBody, new_id
from arint.plugins import FullError

PART = 512 * 2**10
"""Bytes of each part but the last."""
PARTS_AT_ONCE = 16
"""Parts that one process has on their way to the broker: what it holds of uploads is bounded by them."""
AHEAD = 3
"""Of one body."""
PARTS_A_READ = 8
"""Read together: the broker cuts off a client for which too much waits."""
RENEW = 15.0
"""Seconds after which a long upload says again that it is under way; see `arint.bus.sweep.GRACE`."""


class Bodies:
    """Puts bodies into the store and fetches them; one a process. `committer` gives the committer of a stream."""

    def __init__(self, bus: Bus, committer: Callable[[str], Committer], *, replicas: int = 1) -> None:
        self.bus = bus
        self._committer = committer
        self._replicas = replicas
        self._known: set[str] = set()
        self.slots = asyncio.Semaphore(PARTS_AT_ONCE)

    async def check_in(self, message: Message, flow: str, referrer: str, *, of: Claim | None = None) -> Message:
        """The message as it may be stored under the subject `referrer`: a large body is in the store, and noted.

        A body that lies there already is only noted; so is one with the content of `of`, a claim that a stored message
        carries now. Raises FullError, or RejectedError for a body that no store takes.
        """
        body = message.body
        if not isinstance(body, StoredBody):
            if len(body) <= LARGEST_INLINE:
                return message
            digest = await digest_of(body)
            if of is not None and (of.sha256, of.size) == (digest, len(body)):
                body = StoredBody(of)
            else:
                return msgspec.structs.replace(message, body=await self.put(body, flow, message.id, referrer))
        await self.note(body.claim.name, referrer)
        return message if message.body is body else msgspec.structs.replace(message, body=body)

    async def lend(self, message: Message, flow: str) -> Message:
        """The message as it may be asked with, or answered: nothing of it is stored but a large body, for a minute.

        Whoever is given it fetches the body at once.
        """
        return await self.check_in(message, flow, f"q.{message.id}")

    async def put(self, body: bytes, flow: str, message: str, referrer: str) -> StoredBody:
        """Put a whole body into the store; what is returned is fetched."""
        if len(body) > LARGEST_BODY:
            raise RejectedError(f"the body has {len(body)} bytes; at most {LARGEST_BODY} are kept", where=message,
                                remedy="keep it elsewhere, and send where it lies")
        upload = await self.begin(flow, message, referrer)
        try:
            view = memoryview(body)
            for start in range(0, len(body), PART):
                await upload.write(view[start:start + PART])
            return StoredBody(await upload.finish(), body)
        finally:
            upload.end()

    async def begin(self, flow: str, message: str, referrer: str) -> Upload:
        """Begin to store a body whose end is not known yet. Raises FullError."""
        stream = subjects.bodies_of(flow)
        if stream not in self._known:
            try:
                await streams.ensure(self.bus, streams.bodies_config(flow, self._replicas))
            except ArintError as error:
                raise FullError(f"{stream} cannot be made: {error}") from error
            self._known.add(stream)
        upload = Upload(self, self._committer(stream), f"{flow}.{message}.{new_id()}", referrer)
        await self.note(upload.name, referrer)
        return upload

    async def note(self, name: str, referrer: str) -> None:
        """Say that `referrer` will refer to this body, from now on; to be done anew before each such store."""
        subject = subjects.reference(name, referrer)
        await self._committer(subjects.bodies_stream(name)).store(subject, b"", {}, expect_new=False)

    async def fetch(self, message: Message) -> Message:
        """The message with its body. Raises BodyLostError, or UnreachableError where the store does not answer."""
        body = message.body
        if not isinstance(body, StoredBody) or body.fetched:
            return message
        return msgspec.structs.replace(message, body=await self.read(body.claim))

    async def read(self, claim: Claim) -> StoredBody:
        """The body of a claim, checked against it."""
        content, digest = bytearray(), hashlib.sha256()
        numbers = range(parts_of(claim.size))
        for start in range(0, len(numbers), PARTS_A_READ):
            for part in await self._parts(claim, numbers[start:start + PARTS_A_READ]):
                digest.update(part)
                content += part
        if len(content) != claim.size:
            raise BodyLostError(f"the stored body has {len(content)} of {claim.size} bytes", where=claim.name)
        if digest.hexdigest() != claim.sha256:
            raise BodyLostError("the stored body is not what was put there: its SHA-256 differs", where=claim.name)
        return StoredBody(claim, content)

    async def beginning(self, claim: Claim, size: int) -> bytes:
        """The first bytes of a stored body, at most one part; unchecked. Raises BodyLostError."""
        parts = await self._parts(claim, range(1))
        return bytes(parts[0][:size])

    async def verify(self, claim: Claim) -> None:
        """Is all of it there? Raises BodyLostError. For who refers to a body that no stored message may refer to."""
        try:
            there = await streams.count(self.bus, subjects.bodies_stream(claim.name), subjects.part(claim.name, "*"))
        except NotFoundError:
            there = 0
        if there != parts_of(claim.size):
            raise _gone(claim, there)

    async def _parts(self, claim: Claim, numbers: Sequence[int]) -> list[bytes]:
        wanted = [subjects.part(claim.name, number) for number in numbers]
        try:
            found = await lookup.exactly(self.bus, subjects.bodies_stream(claim.name), wanted)
        except NotFoundError:
            found = {}
        missing = [number for number, subject in zip(numbers, wanted, strict=True) if subject not in found]
        if missing:
            raise _gone(claim, missing[0])
        return [found[subject].body for subject in wanted]


class Upload:
    """A body on its way into the store. `write` what comes, then `finish`; `end` in any case."""

    def __init__(self, bodies: Bodies, committer: Committer, name: str, referrer: str) -> None:
        self.name = name
        self.size = 0
        self._bodies, self._committer, self._referrer = bodies, committer, referrer
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self._number = 0
        self._storing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._noted = self._loop.time()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take some more; waits while too much is on its way. Raises FullError."""
        self._digest.update(data)
        self.size += len(data)
        self._waiting += data
        while len(self._waiting) >= PART:
            part = bytes(self._waiting[:PART])
            del self._waiting[:PART]
            await self._send(part)

    async def finish(self) -> Claim:
        """Returns when all of it is on disk."""
        if self._waiting:
            await self._send(bytes(self._waiting))
            self._waiting.clear()
        while self._storing:
            await self._landed()
        return Claim(self.name, self.size, self._digest.hexdigest())

    def end(self) -> None:
        """Let go; what was stored of an upload without an end is swept."""
        for task in self._storing:
            task.cancel()
            task.add_done_callback(_heard)
        self._storing.clear()

    async def _send(self, part: bytes) -> None:
        if self._loop.time() - self._noted > RENEW:
            await self._bodies.note(self.name, self._referrer)
            self._noted = self._loop.time()
        while len(self._storing) >= AHEAD:
            await self._landed()
        await self._bodies.slots.acquire()
        task = self._loop.create_task(self._store(subjects.part(self.name, self._number), part))
        task.add_done_callback(self._free_slot)
        self._storing.add(task)
        self._number += 1

    async def _store(self, subject: str, part: bytes) -> None:
        await self._committer.store(subject, part, {})

    def _free_slot(self, _: asyncio.Task[None]) -> None:
        self._bodies.slots.release()

    async def _landed(self) -> None:
        done, self._storing = await asyncio.wait(self._storing, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()


def parts_of(size: int) -> int:
    """How many parts a body of this size has."""
    return -(-size // PART)


async def digest_of(body: bytes) -> str:
    """The SHA-256 in hexadecimal; others have their turn meanwhile."""
    digest, view = hashlib.sha256(), memoryview(body)
    for start in range(0, len(body), 4 * 2**20):
        digest.update(view[start:start + 4 * 2**20])
        await asyncio.sleep(0)
    return digest.hexdigest()


def _heard(task: asyncio.Task[None]) -> None:
    """What became of it interests nobody any more."""
    if not task.cancelled():
        task.exception()


def _gone(claim: Claim, part: int) -> BodyLostError:
    return BodyLostError(f"the body of {claim.size} bytes is not in the store (any more): part {part} is missing",
                         where=claim.name, remedy="send it again; or dlq edit gives the dead letter another body")
