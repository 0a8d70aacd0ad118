"""A message as a consumer gets it: cheap to make, read only as far as asked."""

from __future__ import annotations

from collections.abc import Callable

from arint.bus import headers as header_lines
from arint.bus.subjects import Place, parse_place
from arint.message import ENVELOPE_HEADER, Message, decode_message

_ENVELOPE = ENVELOPE_HEADER.encode()
_SMALL = 16 * 1024
"""Octets. Larger bodies keep their room until they are settled, which bounds a process's memory."""


class Incoming:
    """A delivered message. Exactly one of `ack` and `nak` ends it; `in_progress` asks for more time."""

    __slots__ = ("_place", "_reply", "_settle", "_subject", "_worked", "body", "header", "is_doubtful", "is_worked",
                 "received", "settled", "slot")

    def __init__(self, subject: bytes, reply: bytes, body: bytes, header: bytes,
                 settle: Callable[[Incoming, bytes, bool], None], received: float,
                 worked: Callable[[], None] | None = None) -> None:
        self._subject, self._reply, self.body, self.header = subject, reply, body, header
        self._settle, self.received, self._worked = settle, received, worked
        self._place: Place | None = None
        self.settled = False
        self.is_worked = False
        self.is_doubtful = False
        self.slot = -1  # where it is remembered (`arint.bus.in_hand`)

    @property
    def subject(self) -> str:
        """The subject it is stored under."""
        return self._subject.decode()

    @property
    def place(self) -> Place:
        """Root, message, run, flow and stage."""
        if self._place is None:  # functools.cached_property takes a lock for this in Python 3.11
            self._place = parse_place(self._subject.decode())
        return self._place

    @property
    def envelope(self) -> bytes:
        """The envelope's JSON (`arint.message.encode_envelope`); `{}` where there is none."""
        return header_lines.find(self.header, _ENVELOPE) or b"{}"

    def message(self) -> Message:
        """The whole message, decoded anew at each call."""
        place = self.place
        return decode_message(self.body, self.envelope, root=place.root, identity=place.message, run=place.run)

    @property
    def _fields(self) -> list[bytes]:
        # $JS.ACK.[domain.account.]stream.consumer.delivered.stream seq.consumer seq.nanoseconds.pending[.random]
        tokens = self._reply.split(b".")
        return tokens[4:] if len(tokens) > 9 else tokens[2:]

    @property
    def delivered(self) -> int:
        """How often it has been delivered, this time included."""
        return int(self._fields[2])

    @property
    def is_repeated(self) -> bool:
        """May it have been processed before?"""
        return self.is_doubtful or self.delivered > 1

    def shed(self) -> None:
        """Let go of the content: it can be read again by its sequence."""
        self.body = self.header = b""

    @property
    def stream_sequence(self) -> int:
        """Its number in the stream."""
        return int(self._fields[3])

    @property
    def pending(self) -> int:
        """How many were behind it in the stream that had not been delivered yet."""
        return int(self._fields[6])

    @property
    def published(self) -> float:
        """When it was stored, in seconds since the epoch, by the broker's clock."""
        return int(self._fields[5]) / 1e9

    def ack(self) -> None:
        """Done: it will not come again (unless the broker forgets the ack in a crash)."""
        self._end(b"")

    def nak(self, delay: float = 1.0) -> None:
        """Deliver it again in `delay` seconds; those behind it are not held up."""
        self._end(b'-NAK {"delay": %d}' % int(max(delay, 0.001) * 1e9))

    def in_progress(self) -> None:
        """Still being worked at: the time until redelivery starts anew."""
        if not self.settled:
            self._settle(self, b"+WPI", False)

    def worked(self) -> None:
        """What is left is to store its result: it takes no room any more that another message may be worked at in."""
        if not self.is_worked and not self.settled and self._worked is not None and len(self.body) <= _SMALL:
            self.is_worked = True
            self._worked()

    def settled_by(self, settle: Callable[[bytes], None]) -> Incoming:
        """The same delivery for somebody who is not to settle it: `settle` gets the answer, empty for an ack."""
        def answered(incoming: Incoming, answer: bytes, final: bool) -> None:
            if final:
                settle(answer)

        same = Incoming(self._subject, self._reply, self.body, self.header, answered, self.received)
        same.is_doubtful = self.is_doubtful
        return same

    def answer(self, answer: bytes) -> None:
        """Settle it with what was given to `settled_by`."""
        self._end(answer)

    @property
    def reply(self) -> bytes:
        """Where answers to the broker go."""
        return self._reply

    def _end(self, answer: bytes) -> None:
        if not self.settled:
            self.settled = True
            self._settle(self, answer, True)
