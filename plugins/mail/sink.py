"""The OUT side of mail: one connection to one server, on which mail follows mail.

A mail goes to all its recipients or to none: what the server refuses of them is known before the mail itself is sent.
It may arrive twice if the process dies between the server's yes and ours; then with the same Message-ID.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from arint.errors import MessageError, NotFoundError, NotValidError, RejectedError, SystemUnavailableError
from arint.plugins import Delivery, SinkContext
from arint.resources.quantities import seconds
from plugins.mail.compose import LARGEST, Composer, Mail, address
from plugins.mail.specs import PORTS, MailConnection, MailOptions

if TYPE_CHECKING:
    from aiosmtplib import SMTP

_IDLE = 20.0
"""Seconds an unused connection is kept; servers close it after a few minutes."""


class MailSink:
    """Sends mails over one connection."""

    def __init__(self, context: SinkContext) -> None:
        self._spec: MailConnection = context.spec
        self._where = f"connection/{context.name}"
        self._password = _password(self._spec, context, self._where)
        self._timeout = seconds(self._spec.timeout)
        self._turn = asyncio.Lock()
        self._client: SMTP | None = None
        self._used = 0.0
        try:
            self._sender = address(self._spec.sender)
        except RejectedError as error:
            raise NotValidError(f"from: {error.what}", where=self._where) from None

    async def send(self, delivery: Delivery) -> bytes | None:
        """One mail; the server's answer is not given back."""
        options: MailOptions = delivery.options
        mail = _composer(msgspec.json.encode(options)).compose(delivery.message, self._sender,
                                                               delivery.idempotency_key)
        if len(mail.data) > LARGEST:
            raise RejectedError(f"the mail has {len(mail.data)} bytes; at most {LARGEST} are sent", where=self._where)
        timeout = min(delivery.timeout, seconds(options.timeout) if options.timeout else self._timeout)
        try:
            async with asyncio.timeout(timeout), self._turn:
                await self._hand_over(mail)
        except TimeoutError as error:
            await self._drop()
            raise SystemUnavailableError(f"not taken within {timeout:g} seconds", where=self._where) from error
        return None

    async def probe(self) -> None:
        """Can we log in?"""
        try:
            async with asyncio.timeout(self._timeout), self._turn:
                await self._drop()
                await self._opened()
        except TimeoutError as error:
            await self._drop()
            raise SystemUnavailableError("no answer", where=self._where) from error

    async def close(self) -> None:
        """Say goodbye."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2.0):
                    await client.quit()
            client.close()

    async def _hand_over(self, mail: Mail) -> None:
        from aiosmtplib import SMTPException, SMTPRecipientRefused, SMTPResponseException, SMTPServerDisconnected

        was_open = self._client is not None
        client = await self._opened()
        if mail.needs_utf8 and not client.supports_extension("smtputf8"):
            raise RejectedError("the mail server takes no addresses beyond ASCII (SMTPUTF8)", where=self._where)
        options, encoding = (["SMTPUTF8", "BODY=8BITMIME"], "utf-8") if mail.needs_utf8 else ([], "ascii")
        try:
            try:
                await client.mail(self._sender.addr_spec, options=options, encoding=encoding)
            except SMTPServerDisconnected:
                if not was_open:
                    raise
                await self._drop()  # it closed what was idle: nothing has been said yet
                client = await self._opened()
                await client.mail(self._sender.addr_spec, options=options, encoding=encoding)
            for recipient in mail.recipients:
                await client.rcpt(recipient, encoding=encoding)
            await client.data(mail.data)
        except SMTPResponseException as error:
            blamed = f" for {error.recipient}" if isinstance(error, SMTPRecipientRefused) else ""
            await self._reset(client)
            raise self._refused(error.code, f"{error.code} {error.message}{blamed}") from None
        except (SMTPException, OSError) as error:
            await self._drop()
            raise SystemUnavailableError(str(error) or type(error).__name__, where=self._where) from error
        self._used = asyncio.get_running_loop().time()

    def _refused(self, code: int, what: str) -> Exception:
        """421 is the server's own trouble; 4xx may pass with time; 5xx is for good."""
        if code == 421:
            return SystemUnavailableError(what, where=self._where)
        return (MessageError if code < 500 else RejectedError)(f"the mail server answered {what}", where=self._where)

    async def _reset(self, client: SMTP) -> None:
        try:
            await client.rset()
        except Exception:  # whatever is wrong with this connection, the next mail has a new one
            await self._drop()

    async def _opened(self) -> SMTP:
        """The connection, logged in. Raises SystemUnavailableError: to log in is no message's fault either."""
        from aiosmtplib import SMTPAuthenticationError, SMTPException

        if self._client is not None:
            if asyncio.get_running_loop().time() - self._used < _IDLE and self._client.is_connected:
                return self._client
            await self._drop()
        client = self._made()
        try:
            await client.connect()
        except SMTPAuthenticationError as error:
            client.close()
            raise SystemUnavailableError(f"the mail server does not know us: {error.code}", where=self._where,
                                         remedy="check the user, and the secret of the password") from None
        except (SMTPException, OSError, ValueError) as error:
            client.close()
            raise SystemUnavailableError(str(error) or type(error).__name__, where=self._where) from error
        except BaseException:
            client.close()
            raise
        self._client = client
        return client

    def _made(self) -> SMTP:
        import ssl

        from aiosmtplib import SMTP

        spec = self._spec
        context = None
        if spec.tls != "none":
            context = ssl.create_default_context(cafile=spec.ca or None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        return SMTP(hostname=spec.host, port=int(spec.port) or PORTS[spec.tls], use_tls=spec.tls == "implicit",
                    start_tls=spec.tls == "starttls", tls_context=context, timeout=self._timeout,
                    username=spec.auth.user if spec.auth else None, password=self._password)

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


@lru_cache(maxsize=256)
def _composer(options: bytes) -> Composer:
    return Composer(msgspec.json.decode(options, type=MailOptions))


def _password(spec: MailConnection, context: SinkContext, where: str) -> str | None:
    if spec.auth is None:
        return None
    name = spec.auth.password.secret
    if name not in context.secrets:
        raise NotFoundError(f"no secret {name}", where=where, remedy="declare it and apply again")
    return context.secrets[name].rstrip(b"\r\n").decode()
