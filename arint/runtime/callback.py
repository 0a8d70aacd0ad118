"""Callbacks: tell whoever sent a message what became of it, at the address it named."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from arint.errors import MessageError, RejectedError, SystemUnavailableError
from arint.flows.addresses import may_be_called, parse_url, port_of

if TYPE_CHECKING:
    import httpx

_AWAY = frozenset({408, 425, 429, 502, 503, 504})


class Caller:
    """One pooled HTTP client, made when first used. Redirects are not followed, answers are not read."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def tell(self, url: str, method: str, headers: Mapping[str, str], body: bytes, idempotency_key: str,
                   timeout: float, trusted: bool) -> None:
        """One request. Raises SystemUnavailableError, RejectedError (4xx, or no address to be called) or MessageError.

        Unless the address is `trusted`, the name is looked up here and the address that was found is called, so that
        nobody can give another answer to the second look.
        """
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(follow_redirects=False, limits=httpx.Limits(max_connections=64),
                                             trust_env=False)
        sent = {**headers, "Idempotency-Key": idempotency_key}
        try:
            async with asyncio.timeout(timeout):
                pinned = {"url": url, "headers": sent} if trusted else await _pinned(url, sent)
                async with self._client.stream(method, content=body, timeout=timeout, **pinned) as answer:
                    status = answer.status_code
        except TimeoutError:
            raise SystemUnavailableError(f"no answer within {timeout:g} seconds", where=url[:200]) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise RejectedError(f"the callback's address is none: {error}", where=url[:200]) from error
        except httpx.HTTPError as error:
            raise SystemUnavailableError(f"{type(error).__name__}: {error}", where=url[:200]) from error
        if status in _AWAY:
            raise SystemUnavailableError(f"answered {status}", where=url[:200])
        if status >= 500:
            raise MessageError(f"answered {status}", where=url[:200])
        if status >= 300:
            raise RejectedError(f"answered {status}", where=url[:200])

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()


async def _pinned(url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The request for the IP address behind the name, which is still told to the server. Raises RejectedError."""
    import httpx

    parts = parse_url(url)
    if parts is None or parts.hostname is None:
        raise RejectedError("the callback's address is none", where=url[:200])
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port_of(parts), type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise SystemUnavailableError(f"the name {parts.hostname} is not known: {error}", where=url[:200]) from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(map(may_be_called, addresses)):
        raise RejectedError("a sender may not have this address called: it is this machine's own, or link-local",
                            where=url[:200], remedy="allow it in the step: callback: {url: …, allow: [http://…]}")
    target = httpx.URL(url).copy_with(host=addresses[0].partition("%")[0])
    return {"url": target, "headers": {**headers, "Host": parts.netloc},
            "extensions": {"sni_hostname": parts.hostname}}
