"""Callbacks: tell whoever sent a message what became of it, at the address it named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from arint.errors import MessageError, RejectedError, SystemUnavailableError

if TYPE_CHECKING:
    import httpx

_AWAY = frozenset({408, 425, 429, 502, 503, 504})


class Caller:
    """One pooled HTTP client, made when first used. Redirects are not followed."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def tell(self, url: str, method: str, headers: Mapping[str, str], body: bytes, idempotency_key: str,
                   timeout: float) -> None:
        """One request. Raises SystemUnavailableError, RejectedError (4xx, or no http address) or MessageError."""
        import httpx

        if urlsplit(url).scheme not in {"http", "https"}:
            raise RejectedError("the callback's address is not http:// or https://", where=url[:200])
        if self._client is None:
            self._client = httpx.AsyncClient(follow_redirects=False, limits=httpx.Limits(max_connections=64))
        try:
            answer = await self._client.request(method, url, content=body, timeout=timeout,
                                                headers={**headers, "Idempotency-Key": idempotency_key})
        except httpx.InvalidURL as error:
            raise RejectedError(f"the callback's address is none: {error}", where=url[:200]) from error
        except httpx.HTTPError as error:
            raise SystemUnavailableError(f"{type(error).__name__}: {error}", where=url[:200]) from error
        if answer.status_code in _AWAY:
            raise SystemUnavailableError(f"answered {answer.status_code}", where=url[:200])
        if answer.status_code >= 500:
            raise MessageError(f"answered {answer.status_code}", where=url[:200])
        if answer.status_code >= 300:
            raise RejectedError(f"answered {answer.status_code}", where=url[:200])

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
