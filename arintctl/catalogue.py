"""Every word that may follow `arintctl`: where it is implemented, and its line in `--help`.

The words stand here so that `--help` imports none of the modules; a test holds the summaries to the docstrings.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A verb of the top level, or a noun with verbs of its own."""

    module: str
    summary: str
    is_noun: bool = False


CATALOGUE: dict[str, Entry] = {
    "up": Entry("cluster", "Start the cluster of this machine, and wait until a message passes through it."),
    "down": Entry("cluster", "Stop everything that runs from this home; with --purge, remove it too."),
    "status": Entry("cluster", "Show the nodes, their engines, and every instance."),
    "doctor": Entry("cluster", "Check everything that can be checked, and say what to do about it."),
    "demo": Entry("demo", "Feed an example with its sample messages, and follow each to its end."),
    "plan": Entry("configuration", "Show what apply would change, and the revision to check against."),
    "diff": Entry("configuration", "Show, field by field, how the manifests differ from what is applied."),
    "apply": Entry("configuration", "Make the cluster what the manifests say; all of it, or nothing."),
    "dev": Entry("dev", "Apply a folder on every save, and show what its services print and what becomes of messages."),
    "delete": Entry("configuration", "Remove resources; refused while others refer to them."),
    "rollback": Entry("configuration", "Go back to an earlier change set, as a new one."),
    "get": Entry("resources", "List resources and their state."),
    "describe": Entry("resources", "Tell everything about a resource: spec, state, who refers to it."),
    "export": Entry("resources", "Write all resources as manifests that apply takes back."),
    "history": Entry("resources", "List the change sets: who changed what, and when."),
    "schema": Entry("resources", "Print the JSON Schema of a kind, for editors."),
    "logs": Entry("observe", "Show what instances print, on any node."),
    "events": Entry("observe", "Show what became of messages, as it happens."),
    "why": Entry("observe", "Tell the story of a message: every hop, attempt and error."),
    "cluster": Entry("machines", "The whole cluster: add machines to it, back it up, restore it.", is_noun=True),
    "message": Entry("message", "Messages: list, show, record and replay them.", is_noun=True),
    "dlq": Entry("dlq", "Dead letters: list, show, edit, replay and drop them.", is_noun=True),
    "channel": Entry("channel", "Channels: list and describe them, and try one with a sample.", is_noun=True),
    "flow": Entry("flow", "Flows: test one with a sample message.", is_noun=True),
    "node": Entry("over_ssh", "Nodes: list, label, cordon and drain them; let machines join.", is_noun=True),
    "service": Entry("service", "Services: list, explain, restart and scale them; promote or abort a canary.",
                     is_noun=True),
    "secret": Entry("secret", "Secrets: set one, list them, seal them anew. No command prints a value.", is_noun=True),
    "engine": Entry("engine", "Engines: list etcd's and nats-server's programs; fetch a newer etcd.", is_noun=True),
    "user": Entry("user", "Users of the cluster: who may administer it over a context, in which role.", is_noun=True),
    "audit": Entry("audit", "The audit: who did what, when, with which outcome.", is_noun=True),
    "bundle": Entry("bundle", "Bundles: what a machine with neither Python nor internet needs to become a node.",
                    is_noun=True),
    "context": Entry("context", "Contexts: which cluster arintctl speaks to.", is_noun=True),
    "overview": Entry("console", "Show what the console shows, once: services, throughput, failures."),
    "console": Entry("console", "Open the console: a live overview in the terminal."),
    "tui": Entry("console", "Open the console: a live overview in the terminal (the same as console)."),
}
