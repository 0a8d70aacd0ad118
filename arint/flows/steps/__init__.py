"""The built-in steps, registered as a plugin's are."""

from __future__ import annotations

from arint.flows.steps.assign import Set
from arint.flows.steps.branching import Route, Try, When
from arint.flows.steps.call import Call
from arint.flows.steps.callback import Callback
from arint.flows.steps.logging import Log
from arint.flows.steps.mapping import Map
from arint.flows.steps.send import Send
from arint.flows.steps.validation import Validate
from arint.plugins import Plugin

plugin = Plugin(
    name="core",
    summary="The built-in steps: validate, map, when, route, set, call, send, callback, log, try.",
    steps=(Validate, Map, When, Route, Set, Call, Send, Callback, Log, Try),
)
