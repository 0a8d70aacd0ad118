"""Channels as their callers meet them: what they are, their OpenAPI document, and a sample sent through one."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from arint.administration.registry import administrative
from arint.errors import ArintError, NotFoundError, TimedOutError, UnreachableError, UsageError
from arint.flows.contracts import Contract, contract_of
from arint.operations.history import applied
from arint.operations.messages import body_text, until_settled
from arint.operations.progress import Progress, Step, silent
from arint.operations.story import Story
from arint.plugins import ChannelBinding, Guide, Sample, load, transports
from arint.resources.kinds import Channel, Connection, Flow, Resource, Secret
from arint.resources.variables import declared_in

if TYPE_CHECKING:
    import httpx

    from arint.operations.connect import Link

ACCEPTED = 202
"""The message goes on without its caller; any other answer is the end of it."""
_SHOWN_HEADERS = ("content-type", "location", "retry-after", "allow", "www-authenticate", "idempotency-replayed")


class Published(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the queries that a channel publishes. `roles`: a caller's key needs one of them, if there are any."""

    name: str
    method: str
    url: str
    parameters: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    description: str = ""


class ChannelInfo(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A channel: `payload` and `result` are the JSON Schemas of what it takes and gives, where they are known.

    `queries` are what it publishes of a connection.
    """

    name: str
    transport: str
    to: str
    delivery: str
    url: str = ""
    methods: tuple[str, ...] = ()
    auth: str = ""
    description: str = ""
    payload: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    queries: tuple[Published, ...] = ()
    curl: str = ""


class TryArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What to send. `wait`: follow the message to its end, for at most `timeout` seconds."""

    channel: str
    body: bytes | None = None
    content_type: str = "application/json"
    method: str = ""
    headers: dict[str, str] = {}
    query: str = ""
    parameters: dict[str, str] = {}
    wait: bool = False
    timeout: float = 30.0


class TryResult(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The request as `curl` would make it, secrets masked; and the answer. `took` in seconds."""

    channel: str
    curl: str
    status: int = 0
    reason: str = ""
    headers: dict[str, str] = {}
    body: str | None = None
    body_base64: str | None = None
    took: float = 0.0
    message: str = ""
    story: Story | None = None


class _Known(msgspec.Struct):
    """What is applied, and what the node tells of it."""

    number: int
    resources: Mapping[str, Resource]
    channels: dict[str, Channel]
    contracts: Mapping[str, Contract]


@administrative("viewer")
async def list_channels(link: Link) -> list[ChannelInfo]:
    """Every channel that is applied."""
    known = await _known(link)
    return [_info(link, channel, known) for channel in known.channels.values()]


@administrative("viewer")
async def show_channel(link: Link, name: str) -> ChannelInfo:
    """One channel, with the curl line that calls it. Raises NotFoundError."""
    known = await _known(link)
    return _info(link, _chosen([name], known)[0], known)


@administrative("viewer")
async def openapi(link: Link, names: Sequence[str] = ()) -> dict[str, Any]:
    """The OpenAPI document of these channels, or of all that have one. Raises NotFoundError, UsageError."""
    known = await _known(link)
    chosen = _chosen(names, known) if names else [one for one in known.channels.values() if _guide(one) is not None]
    if not chosen:
        raise NotFoundError("no channel is applied that an OpenAPI document could describe",
                            remedy="apply one with an http key")
    by_transport = {one.transport for one in chosen}
    guides = [_required_guide(one) for one in chosen]
    if len(by_transport) > 1:
        raise UsageError(f"channels of {' and '.join(sorted(by_transport))} are described apart",
                         remedy="name those of one transport")
    return guides[0].openapi([_binding(link, one, known) for one in chosen], server=_server(link),
                             version=str(known.number))


@administrative("operator")
async def try_channel(link: Link, arguments: TryArguments, progress: Progress = silent) -> TryResult:
    """Send a sample through the real channel, with its credentials. What it is answered, whatever it is, is a result.

    Raises NotFoundError, UsageError, UnreachableError where nobody listens; with `wait` TimedOutError.
    """
    known = await _known(link)
    [channel] = _chosen([arguments.channel], known)
    binding = _binding(link, channel, known)
    secrets = await _secrets(link, channel, known)
    sample = _required_guide(channel).sample(binding, server=_server(link), method=arguments.method,
                                             query=arguments.query, parameters=arguments.parameters,
                                             secret=secrets.__getitem__)
    sample = _with_headers(sample, arguments)
    progress(Step(f"{sample.method} {sample.url}"))
    result = await _sent(channel.name, sample, arguments)
    if not arguments.wait or not result.message or result.status != ACCEPTED:
        return result
    progress(Step("following the message to its end"))
    return msgspec.structs.replace(result, story=await until_settled(link, result.message, timeout=arguments.timeout))


def curl_line(sample: Sample, body: bytes | None) -> str:
    """The equal curl line, without secrets. Pure."""
    words = ["curl", "-i"]
    if sample.method != ("GET" if body is None else "POST"):
        words += ["-X", sample.method]
    words.append(shlex.quote(sample.url))
    for name, value in sample.headers.items():
        words += ["-H", shlex.quote(f"{name}: {sample.masked.get(name, value)}")]
    if body is not None:
        text, _ = body_text(body)
        words += ["--data-binary", shlex.quote(text) if text is not None and len(text) <= 2000 else "@FILE"]
    return " ".join(words)


async def _known(link: Link) -> _Known:
    number, resources = await applied(link)
    try:
        contracts = await link.agent.contracts(within=1.0)
    except (UnreachableError, TimedOutError, msgspec.MsgspecError):
        contracts = {}
    channels = {one.name: one for one in resources.values() if isinstance(one, Channel)}
    return _Known(number, resources, channels, contracts)


def _chosen(names: Sequence[str], known: _Known) -> list[Channel]:
    from arint.resources.problems import nearest

    for name in names:
        if name.removeprefix("channel/") not in known.channels:
            raise NotFoundError(f"there is no channel {name!r}",
                                remedy=nearest(name, known.channels) or "arintctl channel list")
    return [known.channels[name.removeprefix("channel/")] for name in names]


def _guide(channel: Channel) -> Guide | None:
    transport = transports().get(channel.transport)
    return load(transport.guide)() if transport is not None and transport.guide else None


def _required_guide(channel: Channel) -> Guide:
    guide = _guide(channel)
    if guide is None:
        raise UsageError(f"channel {channel.name} takes no requests: its transport is {channel.transport}",
                         remedy="arintctl channel list shows those that do")
    return guide


def _binding(link: Link, channel: Channel, known: _Known) -> ChannelBinding:
    from arint.runtime.source_unit import binding_of

    flows = {one.name: one for one in known.resources.values() if isinstance(one, Flow)}
    variables = declared_in(known.resources.values()) | link.home.variables(link.config)
    connections = [one for one in known.resources.values() if isinstance(one, Connection)]
    return binding_of(channel, transports()[channel.transport], variables,
                      contract_of(channel.to, flows, known.contracts), connections)


def _server(link: Link) -> str:
    return f"http://{link.config.host}:{link.config.ports.http}"


def _info(link: Link, channel: Channel, known: _Known) -> ChannelInfo:
    """Without secrets: what would hold one is named instead."""
    guide = _guide(channel)
    found = ChannelInfo(name=channel.name, transport=channel.transport, to=channel.to, delivery=channel.delivery,
                        description=channel.description)
    if guide is None:
        return found
    binding = _binding(link, channel, known)
    spec = binding.spec
    sample = guide.sample(binding, server=_server(link), parameters=_Anything(), secret=lambda _: b"")
    body = None if sample.method in ("GET", "DELETE") else b"@FILE"
    headers = {"Content-Type": "application/json", **sample.headers} if body is not None else sample.headers
    sample = msgspec.structs.replace(sample, url=_server(link) + str(getattr(spec, "path", "")), headers=headers)
    queries = tuple(Published(one.name, one.method, sample.url + one.path, tuple(
        parameter.name for parameter in one.parameters), one.roles, one.description) for one in binding.operations)
    methods = tuple(dict.fromkeys(one.method for one in queries)) or getattr(spec, "methods", (sample.method,))
    return msgspec.structs.replace(
        found, url=sample.url, methods=tuple(methods), queries=queries,
        auth=", ".join(sample.masked.values()), payload=binding.payload, result=binding.result,
        curl=curl_line(sample, body))


class _Anything(dict[str, str]):
    """A value for every path parameter: it is only shown."""

    def __missing__(self, key: str) -> str:
        return f"{{{key}}}"

    def __contains__(self, key: object) -> bool:
        return True


async def _secrets(link: Link, channel: Channel, known: _Known) -> dict[str, bytes]:
    """The values that the channel's own caller would have: whoever owns the home may read them."""
    from arint.resources.graph import secrets_of
    from arint.security.sealing import Sealer

    found: dict[str, bytes] = {}
    for name in secrets_of(channel):
        declared = known.resources.get(f"Secret/{name}")
        if not isinstance(declared, Secret):
            raise NotFoundError("the secret is not declared", where=f"secret/{name}", remedy="apply it")
        sealed = await (await link.secrets()).get(name, declared.digest)
        found[name] = Sealer.load(link.home).unseal(name, sealed)
    return found


def _with_headers(sample: Sample, arguments: TryArguments) -> Sample:
    """Those of the call go before the channel's own, so that wrong credentials can be tried too."""
    given = {name.lower(): value for name, value in arguments.headers.items()}
    headers = {name: value for name, value in sample.headers.items() if name.lower() not in given}
    if arguments.body is not None and "content-type" not in given:
        headers["Content-Type"] = arguments.content_type
    return msgspec.structs.replace(sample, headers={**headers, **arguments.headers})


async def _sent(channel: str, sample: Sample, arguments: TryArguments) -> TryResult:
    import httpx

    curl = curl_line(sample, arguments.body)
    begun = time.monotonic()
    try:
        async with httpx.AsyncClient(timeout=arguments.timeout, trust_env=False) as client:
            answer = await client.request(sample.method, sample.url, headers=sample.headers, content=arguments.body)
    except httpx.TimeoutException:
        raise TimedOutError(f"no answer within {arguments.timeout:g} s", where=sample.url,
                            remedy=f"arintctl logs {channel}; or wait longer: --timeout") from None
    except httpx.ConnectError:
        raise UnreachableError("nobody listens there", where=sample.url,
                               remedy="arintctl status; a channel is served once apply has ended") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise ArintError(f"the request failed: {str(error) or type(error).__name__}", where=sample.url) from None
    return _result(channel, curl, answer, time.monotonic() - begun)


def _result(channel: str, curl: str, answer: httpx.Response, took: float) -> TryResult:
    text, coded = body_text(answer.content)
    return TryResult(channel=channel, curl=curl, status=answer.status_code, reason=answer.reason_phrase,
                     headers={name: answer.headers[name] for name in _SHOWN_HEADERS if name in answer.headers},
                     body=text, body_base64=coded, took=took, message=_message_id(answer, text))


def _message_id(answer: httpx.Response, text: str | None) -> str:
    """The message's id, where the answer names one."""
    named = answer.headers.get("x-message-id", "")
    if named or answer.status_code != ACCEPTED:
        return str(named)
    try:
        known = json.loads(text or "")
    except ValueError:
        return ""
    return str(known.get("id", "")) if isinstance(known, dict) else ""
