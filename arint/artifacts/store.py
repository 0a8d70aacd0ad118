"""The cluster's store of code: what services are made of, kept by what it holds, so that every node can fetch it.

One stream (`CODE`), in as many copies as the others. Each piece, packed code or a wheel, is uploaded part by part under
a name that no other upload has; last comes its mark, which says that it is whole. A mark is written anew when somebody
wants the piece again, so its age tells how long nobody has. Who removes a piece removes the mark first, at the very
sequence that was looked at: whoever wants it meanwhile either keeps it, or finds it gone and uploads it again.

Who fetches believes nothing but the digest, which stands in the change set.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import BinaryIO, Literal, TypeVar

import msgspec

from arint.bus import api, lookup, streams, subjects
from arint.bus.committer import Committer
from arint.bus.connection import Bus
from arint.errors import ArintError, ConflictError, NotFoundError, NotValidError
from arint.message import new_id, time_of
from arint.plugins import FullError

_T = TypeVar("_T")
Kind = Literal["code", "wheel"]
Name = tuple[Kind, str]
"""What a piece is called: its kind and its digest."""

LARGEST = 4 * 2**30
"""Bytes of all that is kept, one copy of it."""
LARGEST_PIECE = 2 * 2**30
_STEP = 64 * 2**20
"""The broker reserves what a stream may hold: it may hold little more than it does."""
_PART = 512 * 2**10
_PART_COSTS = 512
"""Bytes that the broker needs for a part beside its content, at the most."""
_READ_BACK = 32 * 2**20
"""Bytes up to which what is kept is read, before somebody who wants it kept believes that it is."""
_AHEAD = 4
_PARTS_A_READ = 8
_WITHIN = 10.0
_WRONG_SEQUENCE = frozenset({10071, 10164})
_NO_ROOM = frozenset({10023, 10047, 10028})


class Piece(msgspec.Struct, frozen=True):
    """Something to be kept. `name` is a wheel's file name; `told` what people call it."""

    kind: Kind
    digest: str
    size: int
    open: Callable[[], BinaryIO]
    name: str = ""
    told: str = ""

    @property
    def key(self) -> Name:
        """What it is called in the store."""
        return self.kind, self.digest


class Mark(msgspec.Struct, frozen=True):
    """A piece is kept whole: under which upload, in how many parts, its bytes and their SHA-256."""

    upload: str
    parts: int
    size: int
    sha256: str
    name: str = ""


class Kept(msgspec.Struct, frozen=True):
    """A mark as it stands in the stream; `at` when it was last written (seconds since the epoch)."""

    mark: Mark
    sequence: int
    at: float


async def kept(bus: Bus) -> dict[Name, Kept]:
    """All that is kept whole; nothing where there is no store yet."""
    try:
        found = await lookup.look_up(bus, subjects.CODE, subjects.ALL_KEPT, limit=1_000_000, deadline=_WITHIN)
    except NotFoundError:
        return {}
    return {_name_of(one.subject): Kept(_decoded(one), one.sequence, one.at) for one in found}


async def put(bus: Bus, pieces: Sequence[Piece], *, replicas: int = 1, largest: int | None = None,
              said: Callable[[str], None] = lambda _: None) -> int:
    """Keep these pieces; those that are kept already are only marked anew. How many were uploaded.

    `said` is told what is being done. Raises ArintError where they do not fit, UnreachableError, TimedOutError.
    """
    there = await kept(bus)
    lacking = [piece for piece in pieces if not (piece.key in there and await _still(bus, piece.key, there[piece.key]))]
    if not lacking:
        return 0
    await _make_room(bus, sum(map(_needs, lacking)), replicas, LARGEST if largest is None else largest)
    committer = Committer(bus, subjects.CODE)
    try:
        for number, piece in enumerate(lacking, 1):
            said(f"storing {piece.told or piece.kind} for all nodes ({number} of {len(lacking)})")
            await _upload(bus, committer, piece)
    except FullError as error:
        raise ArintError(f"the code was not stored: {error}", where=f"stream {subjects.CODE}",
                         remedy="see that the broker runs and has room: arintctl status; then again") from error
    finally:
        await committer.close(1.0)
    return len(lacking)


async def fetch(bus: Bus, kind: Kind, digest: str, write: Callable[[bytes], object]) -> Mark:
    """Give a piece to `write`, part by part. What was written is right only if this returns.

    Raises NotFoundError where it is not kept, NotValidError where it is not whole, UnreachableError, TimedOutError.
    """
    found = None
    with suppress(NotFoundError):  # there is no store yet
        found = await lookup.get_one(bus, subjects.CODE, subjects.kept(kind, digest), deadline=_WITHIN)
    if found is None:
        raise NotFoundError("it is not in the cluster's store of code", where=f"{kind} {digest[:12]}",
                            remedy="apply the service again")
    mark = _decoded(found)
    await _fetch(bus, kind, digest, mark, write)
    return mark


async def _fetch(bus: Bus, kind: Kind, digest: str, mark: Mark, write: Callable[[bytes], object]) -> None:
    sha256, size = hashlib.sha256(), 0
    for numbers in _groups(range(mark.parts), _PARTS_A_READ):
        for part in await _parts(bus, kind, digest, mark, numbers):
            sha256.update(part)
            size += len(part)
            if size > mark.size:
                break
            write(part)
    if (size, sha256.hexdigest()) != (mark.size, mark.sha256):
        raise NotValidError(f"what is kept is not what was put there: {size} of {mark.size} bytes, or others",
                            where=f"{kind} {digest[:12]}", remedy="apply the service again")


async def sweep(bus: Bus, named: Collection[Name], *, grace: float, now: float | None = None) -> int:
    """Remove what is not named and was neither stored nor wanted for `grace` seconds; how many pieces went."""
    now = time.time() if now is None else now
    there = await kept(bus)
    gone = 0
    for key, one in there.items():
        if key not in named and now - one.at > grace and await _remove(bus, key, one):
            gone += 1
    await _sweep_uploads(bus, {one.mark.upload for one in there.values()}, now - grace)
    if gone:
        state = await streams.state(bus, subjects.CODE)
        await _resize(bus, min(_rounded(state.size), state.max_bytes))
    return gone


async def _sweep_uploads(bus: Bus, whole: Collection[str], before: float) -> None:
    """Parts of what never came to its end."""
    try:
        parts = await streams.subjects_in(bus, subjects.CODE, subjects.ALL_KEPT_PARTS)
    except NotFoundError:
        return
    for subject in parts:
        kind, digest, upload = subjects.parse_kept_part(subject)
        if upload not in whole and time_of(upload) < before:
            await _purge(bus, kind, digest, upload)


async def _purge(bus: Bus, kind: str, digest: str, upload: str) -> None:
    await api.call(bus, f"STREAM.PURGE.{subjects.CODE}", {"filter": subjects.kept_part(kind, digest, upload, "*")},
                   _WITHIN)


async def _still(bus: Bus, key: Name, there: Kept) -> bool:
    """Say that the piece is wanted; False where it is not there (any more). One that is damaged is removed."""
    if not await _is_whole(bus, key, there.mark):
        await _remove(bus, key, there)
        return False
    try:
        await _write_mark(bus, key, there.mark, there.sequence)
    except ConflictError:
        return (await kept(bus)).get(key) is not None  # another one wanted it as well
    return True


async def _is_whole(bus: Bus, key: Name, mark: Mark) -> bool:
    """Its content where it is small; of a large one, that no part is missing."""
    if mark.size > _READ_BACK:
        return await streams.count(bus, subjects.CODE, subjects.kept_part(*key, mark.upload, "*")) == mark.parts
    try:
        await _fetch(bus, *key, mark, lambda _: None)
    except NotValidError:
        return False
    return True


async def _remove(bus: Bus, key: Name, there: Kept) -> bool:
    """The mark first, unless it was written anew meanwhile: then it stays."""
    if not await lookup.delete(bus, subjects.CODE, there.sequence):
        return False
    await _purge(bus, *key, there.mark.upload)
    return True


async def _write_mark(bus: Bus, key: Name, mark: Mark, after: int) -> None:
    reply = await bus.request(subjects.kept(*key), msgspec.json.encode(mark), _WITHIN,
                              {"Nats-Expected-Last-Subject-Sequence": str(after)})
    answer = msgspec.json.decode(reply.body) if reply.body else {}
    if "error" in answer:
        if answer["error"].get("err_code") in _WRONG_SEQUENCE:
            raise ConflictError("somebody else stored it", where=subjects.kept(*key))
        raise api.refusal(answer["error"], subjects.kept(*key))


async def _upload(bus: Bus, committer: Committer, piece: Piece) -> None:
    upload, sha256, size, parts = new_id(), hashlib.sha256(), 0, 0
    with piece.open() as source:
        for group in _groups(_read(source), _AHEAD):
            for part in group:
                sha256.update(part)
                size += len(part)
            await asyncio.gather(*(committer.store(subjects.kept_part(*piece.key, upload, parts + number), part, {})
                                   for number, part in enumerate(group)))
            parts += len(group)
    mark = Mark(upload, parts, size, sha256.hexdigest(), piece.name)
    try:
        await _write_mark(bus, piece.key, mark, 0)
    except ConflictError:  # another was first, with the same content
        await _purge(bus, *piece.key, upload)


def _groups(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    left = iter(items)
    while group := list(islice(left, size)):
        yield group


def _read(source: BinaryIO) -> Iterator[bytes]:
    while part := source.read(_PART):
        yield part


async def _parts(bus: Bus, kind: Kind, digest: str, mark: Mark, numbers: Sequence[int]) -> list[bytes]:
    wanted = [subjects.kept_part(kind, digest, mark.upload, number) for number in numbers]
    found = await lookup.exactly(bus, subjects.CODE, wanted, deadline=_WITHIN)
    for number, subject in zip(numbers, wanted, strict=True):
        if subject not in found:
            raise NotValidError(f"part {number + 1} of {mark.parts} is missing", where=f"{kind} {digest[:12]}",
                                remedy="apply the service again")
    return [found[subject].body for subject in wanted]


def _needs(piece: Piece) -> int:
    return piece.size + _PART_COSTS * (piece.size // _PART + 2)


def _rounded(size: int) -> int:
    return (size // _STEP + 1) * _STEP


async def _make_room(bus: Bus, more: int, replicas: int, largest: int) -> None:
    """See that the stream is there, and takes so many bytes more."""
    try:
        state = await streams.state(bus, subjects.CODE)
    except NotFoundError:
        used = room = 0
    else:
        used, room = state.size, state.max_bytes
    if used + more > largest:
        raise ArintError(f"the code does not fit: it needs {_mib(more)} more, and {_mib(used)} of the {_mib(largest)} "
                         "that are kept for code are in use", where=f"stream {subjects.CODE}",
                         remedy="ship less (include, requirements); what no kept change set names is removed an hour "
                                "after it was last wanted")
    if not room:
        await _or_no_room(streams.ensure(bus, streams.code_config(min(_rounded(more), largest), replicas)), more)
    elif used + more > room:
        await _or_no_room(_resize(bus, min(_rounded(used + more), largest)), more)


async def _resize(bus: Bus, max_bytes: int) -> None:
    info = await api.call(bus, f"STREAM.INFO.{subjects.CODE}")
    await api.call(bus, f"STREAM.UPDATE.{subjects.CODE}", info["config"] | {"max_bytes": max_bytes}, _WITHIN)


async def _or_no_room(change: Awaitable[None], more: int) -> None:
    try:
        await change
    except api.BusError as error:
        if error.code not in _NO_ROOM:
            raise
        raise ArintError(f"the code does not fit: the broker's disk has no room for {_mib(more)} more ({error.what})",
                         where=f"stream {subjects.CODE}", remedy="make room on the servers' disks; arintctl doctor "
                         "tells how much there is") from error


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _name_of(subject: str) -> Name:
    _, kind, digest = subject.split(".")
    return "wheel" if kind == "wheel" else "code", digest


def _decoded(found: lookup.Found) -> Mark:
    try:
        mark = msgspec.json.decode(found.body, type=Mark)
    except msgspec.MsgspecError as error:
        raise NotValidError(f"the mark of stored code cannot be read: {error}", where=found.subject,
                            remedy="apply the service again") from None
    if not 0 <= mark.size <= LARGEST_PIECE or mark.parts != -(-mark.size // _PART):
        raise NotValidError(f"stored code of {mark.size} bytes in {mark.parts} parts", where=found.subject)
    return mark
