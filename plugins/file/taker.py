"""Takes the files of one channel: look, claim, store, put away; one after the other, so that a crash loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from mimetypes import MimeTypes
from typing import Any, NamedTuple

from arint.errors import ArintError, RejectedError
from arint.message import LARGEST_BODY, derived_id
from arint.plugins import ChannelBinding, FullError, Intake
from arint.resources.quantities import seconds
from arint.runtime.failpoints import failpoint
from plugins.file.folder import Claimed, Folder, StillWrittenError, shown
from plugins.file.pipeline import Pipeline, in_thread
from plugins.file.records import Part, Records, verified
from plugins.file.specs import FileChannel
from plugins.file.watch import Found, Watch, batches

log = logging.getLogger(__name__)

BATCH_OCTETS = 16 * 2**20
"""Bytes of files in one batch."""
DEPTH = 2
"""Batches, or pieces of a file, that are stored while another is read."""
LONGEST_WAIT = 5.0
"""Seconds between two tries where the store is full or the folder out of order."""
WRITTEN_ON = 30.0
"""Seconds that a file may still change after it was taken: its writer had it open and paused for `settle`."""
POSITION_EVERY = 1.0

_types = MimeTypes(filenames=())
for _ending, _type in ((".ndjson", "application/x-ndjson"), (".jsonl", "application/x-ndjson"), (".csv", "text/csv"),
                       (".tsv", "text/tab-separated-values"), (".xml", "application/xml"), (".txt", "text/plain")):
    _types.add_type(_type, _ending)


Content = bytes | None | RejectedError | StillWrittenError
"""Of a small file; None for a large one, which is read while it is stored; or why there is none."""
Body = Callable[[], bytes | AsyncIterator[bytes]]


class Taken(NamedTuple):
    """What becomes of a claimed file: it is done, or has `failed` for a reason."""

    file: Claimed
    failed: str = ""


class Taker:
    """One channel's. Started once, stopped once."""

    def __init__(self, channel: ChannelBinding, intake: Intake) -> None:
        self._channel = channel.name
        self._spec: FileChannel = channel.spec
        self._intake = intake
        self._folder = Folder(channel.name, channel.spec)
        self._watch = Watch(0.0 if self._spec.marker else seconds(self._spec.settle))
        self._leave = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unfinished: list[Taken] = []
        self._told = ""
        self._recovered = False

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._run(), name=f"folder of channel/{self._channel}")

    async def stop(self, grace: float) -> None:
        """Claim nothing more; finish what has begun within `grace` seconds, else leave it claimed."""
        self._leave.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=grace)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while not self._leave.is_set():
            try:
                if not self._recovered:
                    await self._recover()
                wait = await self._round()
                self._told = ""
            except OSError as error:
                self._tell(f"{self._spec.path}: {error.strerror or error}")
                self._recovered, wait = False, LONGEST_WAIT
            except Exception:  # a mistake of ours with one file must not end the channel
                log.exception("channel/%s: the folder %s; tried again", self._channel, self._spec.path)
                self._recovered, wait = False, LONGEST_WAIT
            await self._pause(wait)

    async def _recover(self) -> None:
        """What was claimed before, and not put away: by a process that ended, or in a round that failed."""
        await asyncio.to_thread(self._folder.prepare)
        busy = {one.file.claim for one in self._unfinished}
        await self._take(await asyncio.to_thread(self._folder.left_over, busy))
        self._recovered = True

    def _tell(self, what: str) -> None:
        """Once, not at each look."""
        if what != self._told:
            self._told = what
            log.error("channel/%s: %s; tried again every %g s", self._channel, what, LONGEST_WAIT)

    async def _pause(self, wait: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._leave.wait()

    async def _round(self) -> float:
        """One look at the folder, and all that is finished; how long to wait for the next."""
        await self._put_away([])
        began = time.monotonic()
        found = await asyncio.to_thread(self._folder.look)
        took = time.monotonic() - began
        ready = self._watch.finished(found, time.monotonic())
        if self._spec.records is not None:
            await self._split_all(ready)
        else:
            await self._take_all(ready)
        # A folder of very many files is looked at for at most a tenth of the time
        return max(seconds(self._spec.every), 10 * took)

    async def _split_all(self, ready: Sequence[Found]) -> None:
        for file in ready:
            if self._leave.is_set():
                return
            await self._take(await self._claimed([file]))

    async def _take_all(self, ready: Sequence[Found]) -> None:
        """A batch is claimed and read while those before it are stored."""
        async with Pipeline[None](DEPTH) as storing:
            for batch in batches(ready, self._spec.concurrency, BATCH_OCTETS):
                if self._leave.is_set():
                    break
                claimed = await self._claimed(batch)
                await storing.add(self._store(await asyncio.to_thread(self._read, claimed)))

    async def _claimed(self, files: Sequence[Found]) -> list[Claimed]:
        claimed = await asyncio.to_thread(self._folder.claim, files)
        failpoint("file claimed")
        return claimed

    async def _take(self, claimed: Sequence[Claimed]) -> None:
        """These files, in their order."""
        if self._spec.records is not None:
            for file in claimed:
                if self._leave.is_set():
                    return
                await self._split(file)
            return
        for start in range(0, len(claimed), self._spec.concurrency):
            await self._store(await asyncio.to_thread(self._read, claimed[start:start + self._spec.concurrency]))

    def _read(self, claimed: Sequence[Claimed]) -> list[tuple[Claimed, Content]]:
        return [(file, self._content(file)) for file in claimed]

    def _content(self, file: Claimed) -> Content:
        try:
            return self._folder.read(file, LARGEST_BODY)
        except (RejectedError, StillWrittenError) as error:
            return error

    async def _store(self, read: Sequence[tuple[Claimed, Content]]) -> None:
        await self._put_away(list(await asyncio.gather(*(self._stored(file, body) for file, body in read))))

    async def _stored(self, file: Claimed, content: Content) -> Taken:
        """A whole file as one message. One that is written on, though it is ours, is waited for."""
        given_up = time.monotonic() + WRITTEN_ON
        while True:
            try:
                if isinstance(content, Exception):
                    raise content
                body = (lambda: self._parts(file)) if content is None else (lambda kept=content: kept)
                await self._accept(body, self._headers(file), derived_id(self._channel, file.identity),
                                   self._type(file))
            except RejectedError as error:
                return Taken(file, str(error))
            except StillWrittenError:
                if time.monotonic() > given_up:
                    return Taken(file, f"it was still written {WRITTEN_ON:g} s after it had been taken "
                                       "(declare a longer settle:, or a marker:)")
                await asyncio.sleep(max(seconds(self._spec.settle), 0.1))
                content = await asyncio.to_thread(self._content, file)
            else:
                failpoint("file stored")
                return Taken(file)

    async def _parts(self, file: Claimed) -> AsyncIterator[bytes]:
        parts = self._folder.parts(file)
        while part := await in_thread(next, parts, b""):
            yield part

    async def _split(self, file: Claimed) -> None:
        """A file record by record; a crash goes on where the last noted position was."""
        try:
            complete = await self._split_to_its_end(file)
        except RejectedError as error:
            await self._put_away([Taken(file, str(error))])
        else:
            if complete:
                await self._put_away([Taken(file)])

    async def _split_to_its_end(self, file: Claimed) -> bool:
        """False: this process is to leave before. Raises RejectedError."""
        identity = derived_id(self._channel, file.identity)
        chosen: Any = self._spec.records
        stored = await asyncio.to_thread(self._folder.position, file)
        if chosen.verify and not stored:
            with self._folder.open(file) as content:
                await in_thread(verified, content, chosen)
        with self._folder.open(file) as content:
            records = await in_thread(Records, content, chosen, stored)
            stored = await self._store_records(file, records, identity, stored)
        if self._leave.is_set():
            return False
        await asyncio.to_thread(self._check_unchanged, file, stored)
        return True

    async def _store_records(self, file: Claimed, records: Records, identity: str, stored: int) -> int:
        """How many records are stored: all, or those until it is time to leave. A piece is read while those before it
        are stored. Raises RejectedError.
        """
        noted = time.monotonic()
        async with Pipeline[int](DEPTH) as storing:
            while not self._leave.is_set():
                try:
                    piece = await in_thread(records.piece)
                except RejectedError as error:
                    stored = await storing.rest() or stored
                    raise RejectedError(f"{error.what}; {stored} records before it are stored",
                                        remedy=error.remedy or "verify: true reads the whole file first") from None
                if not piece:
                    break
                stored = await storing.add(self._store_piece(file, identity, piece)) or stored
                if time.monotonic() - noted > POSITION_EVERY:
                    await asyncio.to_thread(self._folder.keep_position, file, stored)
                    noted = time.monotonic()
            stored = await storing.rest() or stored
        await asyncio.to_thread(self._folder.keep_position, file, stored)
        return stored

    async def _store_piece(self, file: Claimed, identity: str, piece: Sequence[Part]) -> int:
        """The number of the record after it."""
        await asyncio.gather(*(self._store_part(file, identity, part) for part in piece))
        failpoint("file piece stored")
        return piece[-1].number + piece[-1].records

    def _check_unchanged(self, file: Claimed, records: int) -> None:
        met = os.lstat(file.place)
        if (met.st_size, met.st_mtime_ns) != (file.size, file.modified):
            raise RejectedError(f"it was still written while it was read; {records} records of it are stored",
                                remedy="declare a longer settle:, or a marker:")

    async def _store_part(self, file: Claimed, identity: str, part: Part) -> None:
        headers = {**self._headers(file), "file-record": str(part.number), "file-records": str(part.records)}
        await self._accept(lambda: part.body, headers, derived_id(identity, part.number), "application/json", identity)

    async def _accept(self, body: Body, headers: Mapping[str, str], message_id: str, content_type: str,
                      correlation_id: str = "") -> None:
        """Stored, however long the store is full or away: nothing is dropped. `body` is asked at each try.

        Raises RejectedError, and what `body` raises.
        """
        while True:
            try:
                await self._intake.accept(self._channel, body(), content_type=content_type, headers=headers,
                                          correlation_id=correlation_id, message_id=message_id)
            except FullError as error:
                wait = min(error.retry_after, LONGEST_WAIT)
            except RejectedError:
                raise
            except ArintError as error:
                log.warning("channel/%s: %s; tried again", self._channel, error)
                wait = LONGEST_WAIT
            else:
                return
            await asyncio.sleep(wait)

    def _type(self, file: Claimed) -> str:
        return self._spec.content_type or _types.guess_type(file.shown)[0] or "application/octet-stream"

    def _headers(self, file: Claimed) -> dict[str, str]:
        modified = datetime.fromtimestamp(file.modified / 1e9, UTC).isoformat(timespec="milliseconds")
        return {"file-name": shown(file.relative.rpartition(b"/")[2]), "file-path": file.shown,
                "file-size": str(file.size), "file-modified": modified.replace("+00:00", "Z")}

    async def _put_away(self, taken: Sequence[Taken]) -> None:
        """Into `done` or `failed`. What cannot be moved now is kept in mind; its messages are stored all the same."""
        waiting, self._unfinished = [*self._unfinished, *taken], []
        if waiting:
            self._unfinished += await asyncio.to_thread(self._move, waiting)

    def _move(self, taken: Sequence[Taken]) -> list[Taken]:
        """Those that cannot be moved now."""
        left: list[Taken] = []
        for one in taken:
            try:
                if one.failed:
                    log.warning("channel/%s: %s is put aside: %s", self._channel, one.file.shown, one.failed)
                    self._folder.failed(one.file, one.failed)
                else:
                    self._folder.done(one.file)
                self._folder.forget_position(one.file)
            except OSError as error:
                self._tell(f"{one.file.shown} cannot be put away: {error.strerror or error}")
                left.append(one)
        for claim in {one.file.claim for one in taken}:
            self._folder.tidy(claim)
        return left
