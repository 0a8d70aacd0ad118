"""Every subject and stream name, built here and nowhere else.

Message streams are logs with one subject a message and stage, root id first, so that `why` is one look-up by prefix:

    m.<root>.<message>.<run>.<flow>.<stage>             a stage's input (stream F-<flow>)
    m.<root>.<message>.<run>.<flow>.<stage>+            which aggregate that input went into
    a.<root>.<message>.<run>.<flow>.<stage>.<attempt>   what became of one attempt (stream ACTIONS)
    d.<root>.<message>.<run>.<flow>.<stage>             a dead letter (stream DEAD)
    k.<channel>.<hash of caller and key>                a claim of an idempotency key (stream LEDGER)
    n.<channel>                                         how far a source has come (stream MARKS)
    t.<topic>                                           a topic (stream TOPICS)
    b.<flow>.<message>.<key>.p.<number>                 a part of a large body (stream B-<flow>)
    b.<flow>.<message>.<key>.r.<subject>                what refers to that body, or soon will: an m. or d. subject,
                                                        t.<message> for a topic's, q.<message> for a request's
    i.<first 8 of the ids>.<writer>.<n>                 records of immediate calls, many in one (stream CALLS)
    c.<kind>.<digest>                                   what says that code, or a wheel, is kept whole (stream CODE)
    c.<kind>.<digest>.<upload>.<number>                 a part of it
    audit.<user>.<call>.<outcome>                       what was done by whom (stream AUDIT)
    rpc.<service>, rpc.flow=<flow>                      request/reply, not stored
    node.<node>                                         questions to the agent of a node, not stored
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

ACTIONS = "ACTIONS"
AUDIT = "AUDIT"
CALLS = "CALLS"
DEAD = "DEAD"
LEDGER = "LEDGER"
MARKS = "MARKS"
TOPICS = "TOPICS"
BODIES = "B-"  # the streams of large bodies, one a flow
CODE = "CODE"


class Place(NamedTuple):
    """Where a message stands: what its subject says."""

    root: str
    message: str
    run: int
    flow: str
    stage: str

    @property
    def subject(self) -> str:
        """The subject of this stage's input."""
        return f"m.{self.root}.{self.message}.{self.run}.{self.flow}.{self.stage}"

    @property
    def marker(self) -> str:
        """The subject of the mark that this input went into an aggregate; it holds the aggregate's subject."""
        return f"{self.subject}+"

    @property
    def is_marker(self) -> bool:
        """Is it such a mark, and no input?"""
        return self.stage.endswith("+")

    @property
    def dead(self) -> str:
        """The subject of this stage's dead letter."""
        return f"d.{self.root}.{self.message}.{self.run}.{self.flow}.{self.stage}"

    def action(self, attempt: int) -> str:
        """The subject of the action record of one attempt (1, 2, …)."""
        return f"a.{self.root}.{self.message}.{self.run}.{self.flow}.{self.stage}.{attempt}"

    @property
    def actions(self) -> str:
        """The filter of all action records of this stage."""
        return f"a.{self.root}.{self.message}.{self.run}.{self.flow}.{self.stage}.*"


def parse_place(subject: str) -> Place:
    """The place that an m., d. or a. subject names."""
    _, root, message, run, flow, stage, *_ = subject.split(".")
    return Place(root, message, int(run), flow, stage)


def flow_of(kind: str, name: str) -> str:
    """The flow token of what a message may be sent to: a flow, or the implicit one-step flow of another resource."""
    return name if kind == "flow" else f"{kind}={name}"


def api_of(channel: str) -> str:
    """The flow token of what a channel publishes of a connection: asked, never stored."""
    return f"api={channel}"


def stream_of(flow: str) -> str:
    """The stream that holds a flow's messages."""
    return f"F-{flow}"


def stream_subjects(flow: str) -> str:
    """What the flow's stream stores."""
    return f"m.*.*.*.{flow}.*"


def stage_filter(flow: str, stage: str) -> str:
    """The inputs of one stage: what its consumer takes."""
    return f"m.*.*.*.{flow}.{stage}"


def bodies_of(flow: str) -> str:
    """The stream that holds the large bodies which were stored for a flow."""
    return f"{BODIES}{flow}"


def bodies_subjects(flow: str) -> str:
    """What the flow's stream of bodies stores."""
    return f"b.{flow}.>"


def bodies_stream(name: str) -> str:
    """The stream that holds the body with this name (`arint.message.Claim`)."""
    return bodies_of(name.partition(".")[0])


def part(name: str, number: int | str) -> str:
    """The subject of one part (0, 1, …) of a large body; `*` for all."""
    return f"b.{name}.p.{number}"


def reference(name: str, referrer: str) -> str:
    """The subject of the note that `referrer`, itself a subject, refers to this body; `>` for all."""
    return f"b.{name}.r.{referrer}"


def parse_reference(subject: str) -> tuple[str, str]:
    """The body's name and the referrer of such a note."""
    _, flow, message, key, _, referrer = subject.split(".", 5)
    return f"{flow}.{message}.{key}", referrer


ALL_REFERENCES = "b.*.*.*.r.>"


def is_token(text: str) -> bool:
    """Can it be a part of a subject, a message's id? What is none would be a pattern, and match others' messages."""
    return bool(text) and text.isprintable() and not set(text) & set(" .*>")


def tree(kind: str, root: str) -> str:
    """All that stands under a root id; `kind` is m, a or d."""
    return f"{kind}.{root}.>"


def claim(channel: str, caller: str, key: str) -> str:
    """The ledger's subject for a caller's idempotency key."""
    digest = hashlib.sha256("\x1f".join((caller, key)).encode()).hexdigest()
    return f"k.{channel}.{digest[:32]}"


def mark(channel: str) -> str:
    """The subject of a channel's mark."""
    return f"n.{channel}"


def topic(name: str) -> str:
    """The subject of a topic."""
    return f"t.{name}"


def rpc(service: str) -> str:
    """The subject on which a service's instances answer requests."""
    return f"rpc.{service}"


def rpc_of(target: str) -> str:
    """The subject for a flow token: `service=price` is the service's, any other a flow's, asked of the runners."""
    kind, separator, name = target.partition("=")
    return rpc(name) if separator and kind == "service" else rpc(f"flow={target}")


def rpc_at(target: str, instance: str) -> str:
    """The subject on which one instance answers for a flow token."""
    return f"{rpc_of(target)}.{instance}"


def target_of(subject: str) -> str:
    """The flow token that a subject of request/reply stands for: `rpc_of` or `rpc_at` the other way round."""
    kind, separator, name = subject.split(".")[1].partition("=")
    return name if separator and kind == "flow" else f"service={kind}"


def calls(bucket: str, writer: str = "", number: int = 0) -> str:
    """The subject of gathered records, or with no writer the filter for all of a bucket."""
    return f"i.{bucket}.{writer}.{number}" if writer else f"i.{bucket}.>"


def bucket_of(message_id: str) -> str:
    """Where the record of an immediate call lies: the part of its id that changes once a second."""
    return message_id[:8]


def audit(user: str, call: str, outcome: str) -> str:
    """The subject of one record of the audit."""
    return f"audit.{user}.{call}.{outcome}"


def audits(user: str = "") -> str:
    """The filter of all records of the audit, or of a user's."""
    return f"audit.{user or '*'}.*.*"


def agent_of(node: str) -> str:
    """The subject on which the agent of a node is asked; no name holds a dot."""
    return f"node.{node}"


def kept(kind: str, digest: str = "*") -> str:
    """The subject of what says that code (or a wheel: `kind`) with this digest is kept whole; `*` for all."""
    return f"c.{kind}.{digest}"


def kept_part(kind: str, digest: str, upload: str, number: int | str) -> str:
    """The subject of one part (0, 1, …) of what was uploaded under that name; `*` for all."""
    return f"{kept(kind, digest)}.{upload}.{number}"


def parse_kept_part(subject: str) -> tuple[str, str, str]:
    """The kind, digest and upload of a part."""
    _, kind, digest, upload, _ = subject.split(".")
    return kind, digest, upload


ALL_KEPT = "c.*.*"
ALL_KEPT_PARTS = "c.*.*.*.0"
