"""The OUT side of HTTP: one pooled client a connection and process."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from arint.errors import MessageError, NotFoundError, NotValidError, RejectedError, SystemUnavailableError
from arint.message import LARGEST_BODY, LARGEST_INLINE
from arint.plugins import Delivery, SinkContext, take_room
from arint.resources.kinds import SecretReference
from arint.resources.quantities import seconds
from plugins.http.specs import ConnectionAuth, HttpConnection, HttpOptions

if TYPE_CHECKING:
    import httpx

_AWAY = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses that say "not now", of the system or of something in front of it."""
_PROBE_TIMEOUT = 5.0
_IDLE = 4.0
"""Seconds an unused connection is kept: less than the 5 s after which common servers close it under a request."""
_LONGEST_DETAIL = 300
_PIECE = 2**18
_DENIED_PAUSE = 30.0
"""Seconds for which a system that knows our credentials no more is left alone: it might lock us out."""


class HttpSink:
    """Delivers messages to one system. The idempotency key goes along, so that the system can tell a second copy."""

    def __init__(self, context: SinkContext) -> None:
        self._spec: HttpConnection = context.spec
        self._where = f"connection/{context.name}"
        self._auth = _auth_headers(self._spec.auth, context.secrets, self._where)
        self._timeout = seconds(self._spec.timeout)
        self._client: httpx.AsyncClient | None = None
        self._base = _base(self._spec.url, self._where)

    async def send(self, delivery: Delivery) -> bytes | None:
        """One request; returns the body of the answer, None if it is empty."""
        options: HttpOptions = delivery.options
        timeout = min(delivery.timeout, seconds(options.timeout) if options.timeout else self._timeout)
        headers = self._headers(delivery, options)
        body = b"" if options.method == "GET" else delivery.message.body
        content: bytes | AsyncIterator[bytes] | None = body or None
        if len(body) > LARGEST_INLINE:  # in pieces: in one, the client and the socket would each copy it whole
            content, headers["Content-Length"] = _pieces(body), str(len(body))
        async with self._request(options.method, options.path, headers, content, timeout) as (response, limit):
            answer = await self._read(response, limit)
            _check(response.status_code, options.expect, response.headers, self._where, answer)
            return answer or None

    async def probe(self) -> None:
        """Ask for `probe`, or for the base address; any answer but "not now" will do."""
        method = "GET" if self._spec.probe else "HEAD"
        timeout = min(self._timeout, _PROBE_TIMEOUT)
        async with self._request(method, self._spec.probe, self._auth, None, timeout) as (response, _):
            if response.status_code in _AWAY:
                raise _away(response.status_code, response.headers, self._where)

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _headers(self, delivery: Delivery, options: HttpOptions) -> dict[str, str]:
        message = delivery.message
        known = {"Content-Type": message.content_type, "Idempotency-Key": delivery.idempotency_key,
                 "X-Correlation-Id": message.correlation_id, "traceparent": message.traceparent}
        return ({name: value for name, value in known.items() if value}
                | self._spec.headers | options.headers | self._auth)

    @asynccontextmanager
    async def _request(self, method: str, path: str, headers: Mapping[str, str],
                       content: bytes | AsyncIterator[bytes] | None, timeout: float,
                       ) -> AsyncIterator[tuple[httpx.Response, asyncio.Timeout]]:
        import httpx

        url = self._base + ("/" + path.lstrip("/") if path else "")
        try:
            # httpx bounds each read; a system that sends a byte now and then is only met by a bound on the whole
            async with asyncio.timeout(timeout) as limit, self._opened().stream(
                    method, url, headers=headers, content=content) as response:
                yield response, limit
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
            raise RejectedError(f"this cannot be sent: {error}", where=self._where) from error
        except (TimeoutError, httpx.TimeoutException) as error:
            raise SystemUnavailableError(f"no answer within {timeout:g} seconds", where=self._where) from error
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise SystemUnavailableError(_told(error), where=self._where) from error

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            import ssl

            import httpx

            trusted = ssl.create_default_context(cafile=self._spec.ca) if self._spec.ca else True
            limits = httpx.Limits(max_connections=self._spec.connections, keepalive_expiry=_IDLE,
                                  max_keepalive_connections=self._spec.connections)
            # trust_env would take proxies and .netrc passwords from whoever started the agent
            self._client = httpx.AsyncClient(limits=limits, timeout=None, verify=trusted, trust_env=False,  # noqa: S113
                                             headers={"User-Agent": "arint"})
        return self._client

    async def _read(self, response: httpx.Response, limit: asyncio.Timeout) -> bytes:
        body, room = bytearray(), LARGEST_INLINE
        async for part in response.aiter_bytes():
            body += part
            if len(body) > LARGEST_BODY:
                raise RejectedError(f"the answer has more than {LARGEST_BODY} bytes", where=self._where)
            if len(body) > room:
                room = LARGEST_BODY
                await _take_room(int(response.headers.get("content-length", room)), limit)
        return bytes(body)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE):
        yield body[start:start + _PIECE]


async def _take_room(size: int, limit: asyncio.Timeout) -> None:
    """Wait for room for a large answer; that is not the system's time."""
    loop = asyncio.get_running_loop()
    left = (limit.when() or loop.time()) - loop.time()
    limit.reschedule(None)
    await take_room(size)
    limit.reschedule(loop.time() + left)


def _base(url: str, where: str) -> str:
    from urllib.parse import urlsplit

    if "@" in urlsplit(url).netloc:
        raise NotValidError("the URL holds a user or password", where=where,
                            remedy="write auth: {basic: {user: …, password: {secret: …}}} instead")
    return url.rstrip("/")


def _auth_headers(auth: ConnectionAuth | None, secrets: Mapping[str, bytes], where: str) -> dict[str, str]:
    def value(reference: SecretReference) -> str:
        if reference.secret not in secrets:
            raise NotFoundError(f"no secret {reference.secret}", where=where, remedy="declare it and apply again")
        return secrets[reference.secret].rstrip(b"\r\n").decode("latin-1")

    if auth is None:
        return {}
    if auth.bearer is not None:
        return {"Authorization": f"Bearer {value(auth.bearer)}"}
    if auth.header is not None:
        return {auth.header.name: value(auth.header.value)}
    if auth.basic is None:
        raise TypeError("ConnectionAuth holds none of bearer, basic, header")
    credentials = f"{auth.basic.user}:{value(auth.basic.password)}".encode("latin-1")
    return {"Authorization": "Basic " + b64encode(credentials).decode()}


def _check(status: int, expected: list[int], headers: Mapping[str, str], where: str, body: bytes) -> None:
    """What the status means for the message: nothing, or one of the three errors."""
    if status in expected or (not expected and 200 <= status < 300):
        return
    if status in _AWAY:
        raise _away(status, headers, where)
    what = f"answered {status}{_detail(headers, body)}"
    if 300 <= status < 400:
        raise RejectedError(f"{what} to {headers.get('location', 'nowhere')}", where=where,
                            remedy="redirects are not followed; write the final address")
    if status == HTTPStatus.UNAUTHORIZED:
        raise SystemUnavailableError(what, where=where, retry_after=_DENIED_PAUSE,
                                     remedy="denied: check the secret, then: arintctl secret set")
    if 400 <= status < 500 and status != HTTPStatus.FORBIDDEN:
        raise RejectedError(what, where=where)
    raise MessageError(what, where=where)


def _away(status: int, headers: Mapping[str, str], where: str) -> SystemUnavailableError:
    return SystemUnavailableError(f"answered {status}", where=where,
                                  retry_after=_retry_after(headers.get("retry-after", "")))


def _retry_after(text: str) -> float | None:
    """Seconds from now: RFC 9110 allows a number or a date; what is neither, is ignored."""
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


class _Told(msgspec.Struct):
    title: str = ""
    detail: str = ""


def _detail(headers: Mapping[str, str], body: bytes) -> str:
    """What a problem document says. Other bodies are not quoted: they may hold anything."""
    if not headers.get("content-type", "").startswith("application/problem+json"):
        return ""
    try:
        told = msgspec.json.decode(body, type=_Told)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return ": " + (told.detail or told.title)[:_LONGEST_DETAIL]


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
