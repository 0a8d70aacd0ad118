"""What a backup holds, as data: it stands at the archive's end, encrypted as all the rest."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

FORMAT = 1
SUFFIX = ".arint-backup"
Kind = Literal["stream", "etcd", "file", "link", "folder"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing in the archive. `name` is a stream's, or a path in the home; `size` is in bytes."""

    kind: Kind
    name: str
    mode: int = 0o600
    size: int = 0
    sha256: str = ""


class Sequences(msgspec.Struct, frozen=True):
    """How far a stream had come."""

    messages: int
    first: int
    last: int


def sequences(messages: int, first: int, last: int) -> Sequences:
    """What the broker says of an empty stream's first sequence is not the same after a restart."""
    return Sequences(messages, first if messages else last + 1, last)


class ConsumerEntry(msgspec.Struct, frozen=True):
    """A consumer in a stream's copy.

    `floor`: everything up to this sequence was acked before the first stream was copied. `moved`: it acked something
    since, so that what the copy says of it may be later than what other copies hold.
    """

    name: str
    floor: int
    moved: bool


class StreamEntry(msgspec.Struct, frozen=True):
    """A stream in the archive. `config` and `state` are the broker's own words; both sequences are equal at rest."""

    name: str
    config: dict[str, Any]
    state: dict[str, Any]
    before: Sequences
    after: Sequences
    consumers: tuple[ConsumerEntry, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole backup. `created` is in seconds since the epoch, `took` in seconds.

    `revision` is the one that etcd had reached when its copy began.
    """

    format: int = FORMAT
    release: str
    cluster: str
    node: str
    created: float
    took: float
    etcd: str
    """The version of etcd that wrote the snapshot."""
    revision: int
    streams: tuple[StreamEntry, ...]
    entries: tuple[Entry, ...]

    @property
    def messages(self) -> int:
        """In all streams."""
        return sum(stream.before.messages for stream in self.streams)

    @property
    def size(self) -> int:
        """The bytes of all entries."""
        return sum(entry.size for entry in self.entries)


def fits(stream: StreamEntry, found: Sequences) -> bool:
    """Whether what was restored can be what was copied.

    Exactly at rest, between both ends while messages flowed; of what goes by age (the action log, idempotency keys)
    some or all may have gone since, and the last sequence tells. Pure.
    """
    before, after = stream.before, stream.after
    if not before.last <= found.last <= after.last:
        return False
    if stream.config.get("max_age") or stream.config.get("allow_msg_ttl"):
        return found.messages <= max(before.messages, after.messages) and found.first >= before.first
    if before == after:
        return found == before
    return not found.messages or before.first <= found.first <= after.first
