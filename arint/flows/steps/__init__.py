"""The built-in steps, registered as a plugin's are."""

from __future__ import annotations

from arint.flows.steps.aggregating import Aggregate
from arint.flows.steps.assign import Set
from arint.flows.steps.branching import Route, Try, When
from arint.flows.steps.call import Call
from arint.flows.steps.callback import Callback
from arint.flows.steps.enriching import Enrich
from arint.flows.steps.filtering import Filter
from arint.flows.steps.forking import Multicast, Split
from arint.flows.steps.logging import Log
from arint.flows.steps.mapping import Map
from arint.flows.steps.send import Send
from arint.flows.steps.validation import Validate
from arint.flows.steps.waiting import Delay, Throttle
from arint.plugins import Plugin

plugin = Plugin(
    name="core",
    summary="The built-in steps, from validate to try.",
    steps=(Validate, Map, When, Route, Filter, Set, Call, Send, Enrich, Callback, Split, Multicast, Aggregate, Delay,
           Throttle, Log, Try),
)
