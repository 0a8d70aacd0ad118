"""What a user writes under `http:` in a channel, a connection, and beside a `send` step's `to`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from arint.message import LARGEST_BODY
from arint.resources.kinds import Duration, SecretReference, Size
from arint.resources.quantities import octets
from plugins.http.paths import segments_of

LARGEST_HEADERS = 512 * 2**10

Path = Annotated[str, msgspec.Meta(pattern=r"^/[^\s?#]*$", max_length=1024,
                                   description="begins with /, without query or fragment; {id} stands for any segment")]
HeaderName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=128,
                                         description="an HTTP header's name")]
HeaderValue = Annotated[str, msgspec.Meta(pattern=r"^[^\r\n\x00]*$", description="one line")]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
MediaType = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9!#$&^_.+-]+/([a-z0-9!#$&^_.+-]+|\*)$",
                                        description="such as application/json, or text/*")]
RatePattern = Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d{0,8}/(s|m|h)$", description="such as 100/s, 5/m, 1000/h")]


def _exactly_one(what: str, given: dict[str, object]) -> None:
    """Msgspec has no unions of plain structs; this says the same and names the choices."""
    if sum(value is not None for value in given.values()) != 1:
        raise ValueError(f"{what}: exactly one of {', '.join(given)} is needed")


class Basic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user and a password (RFC 7617)."""

    user: Annotated[str, msgspec.Meta(pattern=r"^[^:\x00-\x1f]+$", description="without a colon")]
    password: SecretReference


class NamedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One caller's key. `name` is the caller's in the action log; `roles` are what queries of a data API ask for."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[\x21-\x7e]{1,100}$", description="of the caller; without spaces")]
    key: SecretReference
    roles: list[Annotated[str, msgspec.Meta(min_length=1, max_length=100)]] = []


class ChannelAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who may send: whoever knows a key, in `header`; or a user with a password. One of the three.

    `api_key` is one key for all; with `keys` each caller has one.
    """

    api_key: SecretReference | None = None
    keys: list[NamedKey] | None = None
    header: HeaderName = "X-API-Key"
    basic: Basic | None = None

    def __post_init__(self) -> None:
        _exactly_one("auth", {"api_key": self.api_key, "keys": self.keys, "basic": self.basic})
        names = [key.name for key in self.keys or ()]
        if self.keys is not None and not names:
            raise ValueError("keys: at least one is needed, or nobody may send")
        if len(set(names)) < len(names):
            raise ValueError("keys: each has a name of its own")


class ChannelLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one request may use. A larger `body` is answered 413.

    `timeout` is for the whole body to arrive; with immediate delivery, for the answer too.
    """

    body: Size = "1MiB"
    headers: Size = "32KiB"
    timeout: Duration = "15s"
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=100_000, description="requests at once")] = 2048
    rate: Annotated[RatePattern | None, msgspec.Meta(description="such as 100/s, 5/m, 1000/h: on each node")] = None

    def __post_init__(self) -> None:
        if octets(self.body) > LARGEST_BODY:
            raise ValueError("body: at most 64MiB")
        if octets(self.headers) > LARGEST_HEADERS:
            raise ValueError("headers: at most 512KiB")


class HttpChannel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """An address that takes messages: 202 with the message's id once it is stored; or, immediate, the outcome.

    With path parameters, such as `/orders/{id}`, it takes every path of that form that no other channel names exactly.
    """

    path: Path
    methods: Annotated[tuple[Method, ...], msgspec.Meta(min_length=1)] = ("POST",)
    content_types: Annotated[tuple[MediaType, ...], msgspec.Meta(
        description="bodies of other types are answered 415; any where empty")] = ()
    auth: ChannelAuth | None = None
    limits: ChannelLimits = ChannelLimits()
    openapi: Annotated[bool | Path, msgspec.Meta(
        description="where its OpenAPI document is; /openapi/NAME.json by default, nowhere if false")] = True

    def __post_init__(self) -> None:
        segments_of(self.path)


class HeaderAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A header with a secret value."""

    name: HeaderName
    value: SecretReference


class ConnectionAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How ARINT shows the other system who it is. One of the three."""

    bearer: SecretReference | None = None
    basic: Basic | None = None
    header: HeaderAuth | None = None

    def __post_init__(self) -> None:
        _exactly_one("auth", {"bearer": self.bearer, "basic": self.basic, "header": self.header})


class HttpConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Another system that is reached by HTTP. `url` is the base to which a step's `path` is added."""

    url: Annotated[str, msgspec.Meta(pattern=r"^(https?://|\$\{)[^\s]*$",
                                     description="http:// or https://, without user and password")]
    auth: ConnectionAuth | None = None
    headers: dict[HeaderName, HeaderValue] = {}
    timeout: Annotated[Duration, msgspec.Meta(description="of one request")] = "10s"
    connections: Annotated[int, msgspec.Meta(ge=1, le=1000, description="open at once, in one process")] = 64
    ca: Annotated[str, msgspec.Meta(description="PEM file of the CA to trust instead of the public ones")] = ""
    probe: Annotated[str, msgspec.Meta(description="path asked (GET) to learn whether the system is back")] = ""


class HttpOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a `send` step may say besides `to`. `expect` are the statuses that mean success; any 2xx where empty."""

    method: Literal["POST", "PUT", "PATCH", "DELETE", "GET"] = "POST"
    path: str = ""
    headers: dict[HeaderName, HeaderValue] = {}
    timeout: Duration | None = None
    expect: list[Annotated[int, msgspec.Meta(ge=100, le=599)]] = []
