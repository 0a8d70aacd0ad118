"""Writes the generated pages of docs/reference: `python -m docs.generate`. A test fails while one of them is stale.

Each page is made of what the code says of itself: structs with their field descriptions, docstrings, the registry of
plugins, the tree of errors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from arint import errors, sdk, testing
from arint.flows.expressions import NAMES
from arint.flows.step import EffectStep, PureStep, Step
from arint.formats import LazySpec
from arint.meters import families
from arint.meters.meter import MOST_SERIES, OTHER, SECONDS, Counter, Gauge, Histogram
from arint.plugins import Plugin, Transport, formats, installed, step_types
from arint.resources.kinds import KINDS
from arint.security import permissions
from arint.store.keys import Keys
from docs import examples
from docs.fields import doc, inner, spec_words, table
from nodeagent import measuring

FOLDER = Path(__file__).parent / "reference"
HEAD = "# {title}\n\n<!-- Written by `make docs` from the code; do not edit. -->\n"


def kinds_page() -> str:
    """What a user may declare."""
    parts = [HEAD.format(title="Kinds"), (
        "A manifest holds one or more YAML documents, each a resource: `kind` and `name` first. An unknown key is an "
        "error that names the file, the line and the nearest right word. `arintctl schema KIND` prints a kind's JSON "
        "Schema for editors.\n"), _VALUE_WORDS]
    for name, struct in KINDS.items():
        has_transport = "transport" in struct.__struct_fields__
        told = doc(struct).replace(", kept in `transport` and `spec`", "")
        parts += [f"## {name}\n", told + "\n", _yaml(examples.KINDS[name]),
                  table(struct, without=("transport", "spec")) + "\n"]
        if has_transport:
            parts.append(f"Its transport is a key of its own; see [plugins](plugins.md): "
                         f"{', '.join(_transports_for(name.lower()))}.\n")
    parts.append("# Parts\n")
    parts += _structs(dict.fromkeys(part for struct in KINDS.values() for part in inner(struct)[1:]))
    return "\n".join(parts)


_VALUE_WORDS = """\
| word | what is written |
|---|---|
| name | a DNS label: lower-case letters, digits, hyphens; at most 63 |
| duration | `500ms`, `2s`, `5m`, `24h`, `7d` |
| size | `256KiB`, `1MiB` (powers of 1024), `2GB` (powers of 1000) |
| backoff | `1s..5m`: the first and the longest wait; the limit doubles each time, the wait is drawn below it |
| reference | `service/NAME`, `flow/NAME`, `connection/NAME`, `topic/NAME` |

`${NAME}` in channels, connections and the `config` of services is replaced on the node; `ARINT_DATA` is its data
folder. `$${NAME}` stands for the text itself. A secret is written `{secret: NAME}`.
"""


def steps_page() -> str:
    """What a flow is made of."""
    parts = [HEAD.format(title="Steps"), _STEPS_INTRO]
    for key, step in step_types().items():
        parts += [f"## {key}\n", doc(step) + "\n", _role(step) + "\n", _yaml(examples.STEPS[key]), *_spec(step)]
    return "\n".join(parts)


_STEPS_INTRO = f"""\
Each step is a mapping with one of these keys. Beside it (`- name: look up` in a line before it) may stand `name`, which
`arintctl flow test` shows, and `retry: {{attempts: 3, backoff: 1s..1m}}`, which goes before the flow's own for the
stage that the step begins.

Conditions and values are [CEL](https://cel.dev); mappings are [JSONata](https://jsonata.org). They may speak of
{', '.join(f'`{name}`' for name in NAMES)} (in JSONata the body is the input, the others begin with a dollar):

- `body`: the body as JSON. What may be missing is asked for with `has(body.total)`.
- `headers`: the message's headers, names in lower case.
- `vars`: what `set`, `enrich` and others have put there; they belong to the flow they were set in. A part has
  `vars.split`, an aggregate `vars.group`.
- `message`: `id`, `root`, `correlation_id`, `cause`, `channel`, `caller`, `attempt`, `run`, `created`, `content_type`,
  `traceparent`, `size`, `flow`.
- `error`: in a `catch`: `kind`, `message`, `stage`.

Text with `{{{{ … }}}}` (in `log`, and in the header values of `callback`) has CEL within the braces.
"""


def _role(step: type[Step]) -> str:
    if step.key == "send":
        return "To a connection it begins a stage. To anything else goes a copy, stored with the stage's result."
    if step.key == "call":
        return "To a service it begins a stage. A called flow becomes part of the flow that calls it."
    if step.key in ("split", "multicast"):
        return "It begins a stage, and each of the messages that it makes begins another."
    if step.key == "aggregate":
        return "It begins a stage, in which its messages wait; the aggregate begins another."
    if issubclass(step, EffectStep):
        return "It begins a stage."
    return "Pure: it runs in memory." if issubclass(step, PureStep) else "It decides which steps come next."


def _spec(step: type[Step]) -> Iterator[str]:
    """What stands under the step's key."""
    if isinstance(vars(step).get("Spec"), LazySpec):
        yield "What may stand beside each format's name: see [formats](formats.md).\n"
        return
    structs = inner(step.Spec)
    if step.siblings:
        yield f"Beside `{step.key}` stands {', '.join(f'`{name}`' for name in sorted(step.siblings))}.\n"
    elif not (isinstance(step.Spec, type) and issubclass(step.Spec, msgspec.Struct)):
        yield f"Value: {spec_words(step.Spec)}.\n"
    for struct in structs:
        yield f"<a id=\"{struct.__name__.lower()}\"></a>\n\n{doc(struct)}\n"
        yield table(struct) + "\n"


def formats_page() -> str:
    """The forms that data comes in."""
    parts = [HEAD.format(title="Formats"), _FORMATS_INTRO]
    for name, kind in formats().items():
        types = ", ".join(f"`{one}`" for one in kind.content_types)
        parts += [f"## {name}\n", doc(kind.options) + "\n"]
        if types:
            parts.append(f"`auto` takes it for {types}.\n")
        parts.append(table(kind.options) + "\n")
        parts += _structs(dict.fromkeys(inner(kind.options)[1:]))
    return "\n".join(parts)


_FORMATS_INTRO = """\
[`parse`](steps.md#parse) makes a value of bytes, [`format`](steps.md#format) bytes of a value. A format is written as
its name, or as a mapping with the options below: `parse: csv`, `parse: {format: csv, delimiter: ";"}`,
`format: {as: csv, delimiter: ";"}`. The source [`file`](plugins.md#file-channel) splits files of any size by `records`.

What does not have its form is rejected (a dead letter at once), with line or byte, and without the values. A line, a
field or a record has at most 4 MiB.
"""


def plugins_page() -> str:
    """What is installed here."""
    seen: set[type[msgspec.Struct]] = set()
    parts = [HEAD.format(title="Plugins"), (
        "The built-in plugins. Each is registered as yours would be: by an entry point of the group `arint.plugins`; "
        "see [writing a plugin](../how-to/write-a-plugin.md).\n")]
    for name, plugin in installed().items():
        parts += _plugin(name, plugin, seen)
    return "\n".join(parts)


def _plugin(name: str, plugin: Plugin, seen: set[type[msgspec.Struct]]) -> Iterator[str]:
    yield f"## {name}\n\n{plugin.summary.rstrip('.')}.\n"
    if plugin.formats:
        yield "Formats: " + ", ".join(f"[`{kind.name}`](formats.md#{kind.name})" for kind in plugin.formats) + ".\n"
    if plugin.steps:
        yield "Steps: " + ", ".join(f"[`{step.key}`](steps.md#{step.key})" for step in plugin.steps) + ".\n"
    for transport in plugin.transports:
        yield _yaml(examples.TRANSPORTS[transport.name])
        yield from _transport(transport, seen)


def _transport(transport: Transport, seen: set[type[msgspec.Struct]]) -> Iterator[str]:
    roles = (("channel", "In a Channel"), ("connection", "In a Connection"), ("options", "In a `send` step"),
             ("queries", "In a Channel to such a Connection"))
    shown: dict[type[msgspec.Struct], None] = {}
    for role, title in roles:
        struct = getattr(transport, role)
        if struct is None:
            continue
        under = {"options": ", beside `to`", "queries": ", under `queries:`, each by a name"}.get(
            role, f", under `{transport.name}:`")
        yield f"### {transport.name}: {role}\n\n{title}{under}. {doc(struct)}\n"
        yield table(struct) + "\n"
        shown |= dict.fromkeys(inner(struct)[1:])
    yield from _structs({struct: None for struct in shown if struct not in seen})
    seen |= shown.keys()


def errors_page() -> str:
    """The tree of errors, and the exit codes."""
    rows = [f"| {kind.exit_code} | {kind.title} | `{kind.__name__}` | {_line(kind)} |" for kind in _all_errors()]
    return "\n".join([HEAD.format(title="Errors and exit codes"), (
        "Every error says what happened, where, and what to do. `arintctl` prints it as one line on stderr and leaves "
        "with its exit code; `--verbose` prints the rest. All problems of a manifest are printed, one a line.\n"),
        "| exit code | title | class | |", "|---|---|---|---|", *rows, "", _EXITS])


_EXITS = """\
Beside these: 0 done; `plan` and `diff` leave with 10 where something would change; 130 after an interrupt.

A service raises `RejectedError` for a message that will never be right (a dead letter at once), any other exception
for one that may be next time (an attempt is used), and `SystemUnavailableError` where another system is away (no
attempt is used). All are in `arint`: `from arint import RejectedError, MessageError, SystemUnavailableError`.
"""


def _line(kind: type[Any]) -> str:
    """A docstring as one cell of a table."""
    return " ".join(doc(kind).split())


def _all_errors() -> list[type[errors.ArintError]]:
    found = [kind for kind in vars(errors).values()
             if inspect.isclass(kind) and issubclass(kind, errors.ArintError)]
    return sorted(found, key=lambda kind: kind.exit_code)


def sdk_page() -> str:
    """What services and tests import."""
    parts = [HEAD.format(title="The SDK"), (
        "`from arint import service, Context, Message` in services; `from arint.testing import run_service, FlowTest` "
        "in tests.\n"), _function("arint.service", sdk.service), _class("arint.Context", sdk.Context),
        _function("arint.testing.run_service", testing.run_service), _class("arint.testing.FlowTest", testing.FlowTest),
        *(_class(f"arint.testing.{kind.__name__}", kind)
          for kind in (testing.FlowRun, testing.StepRecord, testing.Sent, testing.Wait, testing.ServiceResult,
                       testing.Clock, testing.Recording)),
        *(_function(f"arint.testing.{function.__name__}", function)
          for function in (testing.ask, testing.check_recording, testing.assert_snapshot)),
        _class("arint.testing.Asked", testing.Asked)]
    return "\n".join(parts)


def _function(name: str, function: Callable[..., Any]) -> str:
    return f"## {name}\n\n```text\n{_call(name.rpartition('.')[2], function)}\n```\n\n{doc(function)}\n"


def _class(name: str, kind: type[Any]) -> str:
    parts = [f"## {name}\n\n{doc(kind)}\n"]
    if issubclass(kind, msgspec.Struct):
        parts.append("Fields: " + ", ".join(f"`{field}`" for field in kind.__struct_fields__) + ".\n")
    for word, member in vars(kind).items():
        if word.startswith("_") or not (callable(member) or isinstance(member, property)) or not inspect.getdoc(member):
            continue
        shown = word if isinstance(member, property) else _call(word, member)
        parts.append(f"- `{shown}`: {doc(member)}".replace("\n\n", "\n\n  "))
    return "\n".join([*parts, ""])


def _call(name: str, function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    kept = [parameter for word, parameter in signature.parameters.items() if word != "self"]
    prefix = "await " if inspect.iscoroutinefunction(function) else ""
    written = str(signature.replace(parameters=kept)).replace("'", "")
    written = written.replace("<class arint.message.Message>", "Message")
    return f"{prefix}{name}{written}"


def _transports_for(role: str) -> list[str]:
    return [f"[`{transport.name}`](plugins.md#{transport.name}-{role})" for plugin in installed().values()
            for transport in plugin.transports if getattr(transport, role) is not None]


def _structs(structs: dict[type[msgspec.Struct], None]) -> Iterator[str]:
    for struct in structs:
        yield f"#### {struct.__name__}\n\n{doc(struct)}\n"
        yield table(struct) + "\n"


def _yaml(text: str) -> str:
    return f"```yaml\n{text}```\n"


def metrics_page() -> str:
    """What a scrape finds."""
    rows = [(family.name, family.kind, family.help, family.labels) for family in vars(families).values()
            if isinstance(family, Counter | Gauge | Histogram)]
    told = [_metric(*row) for row in sorted(rows)]
    own = [_metric(name, *row) for name, row in sorted(measuring.FAMILIES.items())]
    head = ["| metric | type | labels | |", "|---|---|---|---|"]
    bounds = ", ".join(f"{bound:g}" for bound in SECONDS)
    return "\n".join([HEAD.format(title="Metrics"), _METRICS_INTRO, "## Of the node and its processes\n", *head, *own,
                      "\n## Counted by workers\n", f"Beside these labels: `worker` and `service`. Buckets of "
                      f"durations, in seconds: {bounds}.\n", *head, *told, ""])


_METRICS_INTRO = f"""\
What `GET /metrics` on each node answers, in Prometheus's text format; see [metrics and
traces](../how-to/metrics-and-traces.md). Counters begin anew with their process. At most {MOST_SERIES} label sets of a
metric are told apart in one process; what is beyond is counted under `{OTHER}`. A flow's name is as in `arintctl
events`: what is sent straight to a service or connection has the flow `service=NAME` or `connection=NAME`.
"""


def _metric(name: str, kind: str, told: str, labels: tuple[str, ...]) -> str:
    return f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {told} |"


def permissions_page() -> str:
    """Who may do what in the engines."""
    keys = Keys("CLUSTER")
    agent = permissions.agent_role(keys)
    parts = [HEAD.format(title="Permissions in etcd and on the bus"), (
        "Each certificate names its holder: `IDENTITY@NODE` for what runs on a node, `user@NAME` for a person. etcd "
        "and NATS let in whom they know by that name and by no password, and ask this table what they may do. "
        "[How to look after certificates](../how-to/certificates.md).\n"),
        "## In etcd\n",
        f"`etcd-admin@NODE` has etcd's role `{permissions.ROOT}` and may do all. `etcd-agent@NODE` has the role "
        f"`{agent.name}`: it {agent.why}. A name that ends in a slash is all keys that begin with it.\n",
        "| key | agent |\n|---|---|"]
    for key in sorted({*agent.reads, *agent.writes, keys.head, keys.sets_prefix, keys.resources_prefix, keys.ring,
                       keys.users_prefix, keys.known_users_prefix}):
        reads = "reads" if any(key.startswith(prefix) for prefix in agent.reads) else ""
        writes = "writes" if any(key.startswith(prefix) for prefix in agent.writes) else ""
        parts.append(f"| `{key}` | {', '.join(filter(None, (reads, writes))) or 'nothing'} |")
    parts.append("\n## On the bus\n")
    for role in (permissions.worker_role(), permissions.agent_bus_role("NODE"), permissions.admin_role(),
                 permissions.user_role("NAME")):
        lists = {"publishes on": role.publish, "but not on": role.publish_not, "listens on": role.subscribe,
                 "but not to": role.subscribe_not}
        parts.append(f"### {permissions.common_name_of('NAME') if role.name == 'user' else f'{role.name}@NODE'}\n\n"
                     f"{role.why[0].upper()}{role.why[1:]}.\n")
        parts += [f"- {word}: {', '.join(f'`{subject}`' for subject in subjects)}"
                  for word, subjects in lists.items() if subjects]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "kinds.md": kinds_page, "steps.md": steps_page, "formats.md": formats_page, "plugins.md": plugins_page,
    "errors.md": errors_page, "sdk.md": sdk_page, "metrics.md": metrics_page,
    "permissions.md": permissions_page,
}
"""The generated pages; cli.md is written by `python -m arintctl.reference`."""


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
