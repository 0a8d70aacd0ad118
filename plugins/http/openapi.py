"""HTTP channels as an OpenAPI 3.1 document. Pure: channels in, a document out."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from arint.flows.contracts import Schema, rooted
from arint.plugins import ChannelBinding, Operation
from arint.resources.quantities import octets, seconds
from plugins.http.operations import addresses, operation_of
from plugins.http.paths import segments_of
from plugins.http.problems import CONTENT_TYPE
from plugins.http.routes import MESSAGES
from plugins.http.specs import ChannelAuth, HttpChannel

VERSION = "3.1.0"
_BODILESS = frozenset({"GET", "DELETE"})
_JSON = "application/json"
_PROBLEM = CONTENT_TYPE.decode()
Document = dict[str, Any]

_SHARED: Document = {
    "schemas": {
        "Accepted": {
            "type": "object", "required": ["id", "status"], "properties": {
                "id": {"type": "string", "description": "the message's id"},
                "status": {"type": "string", "format": "uri-reference",
                           "description": "where to ask what became of it"}}},
        "MessageStatus": {
            "type": "object", "required": ["id", "state"], "properties": {
                "id": {"type": "string"}, "state": {"enum": ["accepted", "processing", "done", "dead"]},
                "stage": {"type": "string"}, "attempts": {"type": "integer"}, "channel": {"type": "string"}}},
        "Problem": {
            "type": "object", "description": "RFC 9457", "required": ["type", "title", "status"], "properties": {
                "type": {"type": "string", "format": "uri"}, "title": {"type": "string"},
                "status": {"type": "integer"}, "detail": {"type": "string"}}},
    },
    "parameters": {
        "IdempotencyKey": {
            "name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            "description": "the same key with the same body stores nothing again and is given the first message's id"},
        "CorrelationId": {
            "name": "X-Correlation-Id", "in": "header", "schema": {"type": "string", "maxLength": 255},
            "description": "kept with the message and passed on"},
        "RequestTimeout": {
            "name": "X-Request-Timeout", "in": "header", "schema": {"type": "string"},
            "description": "how long the caller waits, such as 500ms or 2s; no longer than the channel allows"},
        "Traceparent": {
            "name": "traceparent", "in": "header", "schema": {"type": "string"},
            "description": "W3C Trace Context: the trace that the message becomes part of"},
    },
}
_MESSAGE_ID = {"X-Message-Id": {"description": "the message's id", "schema": {"type": "string"}}}
_GUARANTEED = {
    400: "the request cannot be understood", 408: "the request did not arrive in time",
    413: "the body is too large", 415: "the body is compressed, or of another type",
    422: "the Idempotency-Key came before with another body", 431: "the headers are too large",
    500: "something failed here", 503: "nothing was stored; try again after Retry-After"}
_IMMEDIATE = {
    400: "the request cannot be understood", 404: "there is no such thing", 408: "the request did not arrive in time",
    409: "it is at odds with what is there", 413: "the body is too large", 415: "the body is of another type",
    422: "the body does not fit", 429: "too many requests", 431: "the headers are too large",
    500: "something failed here", 502: "a system behind this failed", 503: "a system behind this is away, or too much "
    "is asked at once; try again after Retry-After", 504: "there was no answer in time"}


def document(channels: Sequence[ChannelBinding], *, server: str = "/", title: str = "ARINT channels",
             version: str = "1") -> Document:
    """The document of these channels. `server` is what their paths begin from; `version` the configuration's."""
    components: Document = {**_SHARED, "schemas": dict(_SHARED["schemas"]), "securitySchemes": {}}
    paths: dict[str, Document] = {}
    for channel in addresses(channels):
        _add(channel, paths, components)
    if not components["securitySchemes"]:
        del components["securitySchemes"]
    return {"openapi": VERSION, "info": {"title": title, "version": version}, "servers": [{"url": server}],
            "paths": paths, "components": components}


def _add(channel: ChannelBinding, paths: dict[str, Document], components: Document) -> None:
    spec: HttpChannel = channel.spec
    security = _security(channel.name, spec.auth, components)
    for method in spec.methods:
        paths.setdefault(spec.path, {})[method.lower()] = _operation(channel, method, security, components)
    if channel.delivery == "guaranteed":
        path = spec.path.rstrip("/") + MESSAGES + "{message_id}"
        paths.setdefault(path, {}).setdefault("get", _status_operation(channel, security))


def _operation(channel: ChannelBinding, method: str, security: list[Any], components: Document) -> Document:
    spec: HttpChannel = channel.spec
    is_immediate = channel.delivery == "immediate"
    shared = ["RequestTimeout" if is_immediate else "IdempotencyKey", "CorrelationId", "Traceparent"]
    asked = operation_of(channel)
    names = f"{channel.name}-{method.lower()}" if len(spec.methods) > 1 else channel.name
    if asked is not None:
        names = f"{channel.name}-{asked.name}"
    operation: Document = {
        "operationId": names, "tags": [channel.name], "summary": _summary(channel),
        "parameters": [*(_path_parameters(spec.path) if asked is None else _parameters_of(asked, spec.path)),
                       *({"$ref": f"#/components/parameters/{name}"} for name in shared)]}
    if channel.description:
        operation["description"] = channel.description
    if method not in _BODILESS:
        operation["requestBody"] = _request_body(channel, components)
    operation["responses"] = _responses(channel, security, components)
    if security:
        operation["security"] = security
    operation["x-arint-channel"] = channel.name
    operation["x-arint-limits"] = _limits(spec)
    return operation


def _parameters_of(operation: Operation, path: str) -> list[Document]:
    """Those of the channel's own path too, of which nothing more is known."""
    inside = {one["name"]: one for one in _path_parameters(path)}
    known = [{"name": one.name, "in": "path" if one.name in inside else "query",
              "required": one.is_required or one.name in inside, "schema": one.schema} for one in operation.parameters]
    named = {one["name"] for one in known}
    return [*(one for name, one in inside.items() if name not in named), *known]


def _summary(channel: ChannelBinding) -> str:
    if channel.delivery == "immediate":
        return f"Ask {channel.target}, and be told the outcome"
    return f"Send a message to {channel.target}; it is on disk before the answer"


def _request_body(channel: ChannelBinding, components: Document) -> Document:
    schema = _component(f"{_name(channel)}.payload", channel.payload, components)
    types = channel.spec.content_types or ((_JSON,) if schema else ("*/*",))
    content = {name: {"schema": schema} if schema and "json" in name else {} for name in types}
    return {"required": channel.payload is not None, "content": content}


def _name(channel: ChannelBinding) -> str:
    operation = operation_of(channel)
    return channel.name if operation is None else f"{channel.name}.{operation.name}"


def _component(name: str, schema: Schema | None, components: Document) -> Document | None:
    if schema is None:
        return None
    pointer = f"#/components/schemas/{name}"
    components["schemas"][name] = rooted(schema, pointer)
    return {"$ref": pointer}


def _responses(channel: ChannelBinding, security: list[Any], components: Document) -> Document:
    if channel.delivery == "immediate":
        result = _component(f"{_name(channel)}.result", channel.result, components)
        content: Document = {_JSON: {"schema": result}} if result else {"*/*": {}}
        answers: Document = {
            "200": {"description": "the outcome", "content": content, "headers": _MESSAGE_ID},
            "202": {"description": "it goes on without its caller", "headers": _MESSAGE_ID},
            "204": {"description": "done; there is nothing to tell", "headers": _MESSAGE_ID}}
        failures = _IMMEDIATE
    else:
        answers = {"202": {
            "description": "the message is on disk",
            "headers": {"Location": {"description": "as `status`", "schema": {"type": "string"}},
                        "Idempotency-Replayed": {"description": "`true` where the key came before",
                                                 "schema": {"type": "string"}}},
            "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Accepted"}}}}}
        failures = _GUARANTEED
    if channel.spec.limits.rate:
        failures = failures | {429: "more than the channel's rate; try again after Retry-After"}
    if security:
        failures = failures | {401: "valid credentials are needed"}
    return answers | _problems(failures)


def _problems(failures: dict[int, str]) -> Document:
    content = {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(status): {"description": f"{HTTPStatus(status).phrase}: {what}", "content": content}
            for status, what in sorted(failures.items())}


def _status_operation(channel: ChannelBinding, security: list[Any]) -> Document:
    failures = {404: "no message with this id came in here, or it is no longer kept", 503: "the store does not answer"}
    operation: Document = {
        "operationId": f"{channel.name}-status", "tags": [channel.name], "summary": "Where a message stands",
        "parameters": [*_path_parameters(channel.spec.path), {
            "name": "message_id", "in": "path", "required": True,
            "schema": {"type": "string", "pattern": "^[0-9A-HJKMNP-TV-Z]{26}$"}}],
        "responses": {"200": {"description": "where it stands", "content": {
            _JSON: {"schema": {"$ref": "#/components/schemas/MessageStatus"}}}},
            **_problems(failures | ({401: "valid credentials are needed"} if security else {}))}}
    return operation | ({"security": security} if security else {})


def _path_parameters(path: str) -> list[Document]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in segments_of(path)[1]]


def _security(name: str, auth: ChannelAuth | None, components: Document) -> list[Any]:
    """Each channel has a key of its own, though all may be sent in the same header."""
    if auth is None:
        return []
    components["securitySchemes"][name] = (
        {"type": "apiKey", "in": "header", "name": auth.header, "description": f"the key of channel {name}"}
        if auth.basic is None else
        {"type": "http", "scheme": "basic", "description": f"user and password of channel {name}"})
    return [{name: []}]


def _limits(spec: HttpChannel) -> Document:
    rate = spec.limits.rate
    return {"body_bytes": octets(spec.limits.body),
            "headers_bytes": octets(spec.limits.headers), "seconds": seconds(spec.limits.timeout),
            "requests_at_once": spec.limits.concurrency, **({"rate": rate} if rate else {})}
