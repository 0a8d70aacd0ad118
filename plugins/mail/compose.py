"""From a message and a step's options to a mail: what a message says never becomes a header of its own, nor markup."""

from __future__ import annotations

import binascii
import html
import mimetypes
from base64 import b64decode
from email.errors import MessageError as HeaderError
from email.errors import NonASCIILocalPartDefect
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import formatdate
from typing import Any, NamedTuple

from arint.errors import RejectedError
from arint.flows.expressions import Template, expression
from arint.flows.json_text import write_json
from arint.flows.state import State
from arint.flows.step import Mistakes
from arint.message import Message, derived_id
from plugins.mail.specs import Attachment, MailOptions

LARGEST = 32 * 2**20
"""Bytes of one mail; most servers take less."""
_EFFECTS: Any = None


class Mail(NamedTuple):
    """A mail as it is sent: its bytes, to whom, and whether an address needs more than ASCII (RFC 6531)."""

    data: bytes
    recipients: list[str]
    needs_utf8: bool


class Composer:
    """The compiled options of one `send` step. Raises StepError for texts that are none."""

    def __init__(self, options: MailOptions) -> None:
        found = Mistakes()
        self._texts: dict[str, list[Template]] = {}
        for name in ("recipients", "cc", "bcc"):
            self._texts[name] = [_template(found, text, name, index)
                                 for index, text in enumerate(getattr(options, name))]
        for name in ("reply_to", "subject", "text", "html"):
            written = getattr(options, name)
            self._texts[name] = [_template(found, written, name)] if written else []
        self._attachments = [_Attached(found, one, index) for index, one in enumerate(options.attachments)]
        found.refuse()

    def compose(self, message: Message, sender: Address, key: str) -> Mail:
        """The mail, and to whom it goes. The same key gives the same Message-ID.

        Raises RejectedError for what is no address, or lacks what a text speaks of.
        """
        state = State(message, "", "", _EFFECTS)
        to = {header: [one for text in self._texts[name] for one in addresses(text.fill(state))]
              for name, header in (("recipients", "To"), ("cc", "Cc"), ("bcc", "Bcc"), ("reply_to", "Reply-To"))}
        everyone = [*to["To"], *to["Cc"], *to["Bcc"]]
        needs_utf8 = not all(one.username.isascii() for one in (sender, *everyone, *to["Reply-To"]))
        mail = EmailMessage(policy=SMTPUTF8 if needs_utf8 else SMTP)
        mail["From"] = sender
        mail["Message-ID"] = f"<{derived_id('mail', key).lower()}@{sender.domain}>"
        mail["Date"] = formatdate(usegmt=True)
        mail["Subject"] = _line("the subject", self._filled("subject", state))
        for header in ("To", "Cc", "Reply-To"):
            if to[header]:
                mail[header] = to[header]
        if message.correlation_id:
            mail["X-Correlation-Id"] = _line("the correlation id", message.correlation_id)
        self._fill_body(mail, state, message)
        for attached in self._attachments:
            attached.add(mail, state, message)
        return Mail(mail.as_bytes(), list(dict.fromkeys(one.addr_spec for one in everyone)), needs_utf8)

    def _fill_body(self, mail: EmailMessage, state: State, message: Message) -> None:
        text, marked_up = self._texts["text"], self._texts["html"]
        if text or not marked_up:
            mail.set_content(_printable(text[0].fill(state) if text else _own_text(message)))
        if marked_up:
            page = _printable(marked_up[0].fill(state, html.escape))
            if text:
                mail.add_alternative(page, subtype="html")
            else:
                mail.set_content(page, subtype="html")

    def _filled(self, name: str, state: State) -> str:
        return "".join(text.fill(state) for text in self._texts[name])


class _Attached:
    """One attachment, compiled."""

    def __init__(self, found: Mistakes, spec: Attachment, index: int) -> None:
        self._name = _template(found, spec.name, "attachments", index, "name")
        self._base64, self._type = spec.base64, spec.content_type
        self._content = None
        if spec.content:
            with found.at("attachments", index, "content"):
                self._content = expression(spec.content)

    def add(self, mail: EmailMessage, state: State, message: Message) -> None:
        name = _line("the attachment's name", self._name.fill(state)).replace("/", "_")
        data = message.body if self._content is None else self._bytes(self._content.evaluate(state))
        given = message.content_type.partition(";")[0] if self._content is None else ""
        kind = self._type or mimetypes.guess_type(name)[0] or given
        main, _, sub = (kind if kind.count("/") == 1 else "application/octet-stream").partition("/")
        if main in ("multipart", "message"):
            main, sub = "application", "octet-stream"
        mail.add_attachment(data, maintype=main, subtype=sub, filename=name)

    def _bytes(self, value: Any) -> bytes:
        if self._base64:
            try:
                return b64decode(value, validate=True)
            except (TypeError, ValueError, binascii.Error):
                raise RejectedError("an attachment is not base64") from None
        if isinstance(value, bytes):
            return value
        return value.encode() if isinstance(value, str) else write_json(value)


def address(text: str) -> Address:
    """One address, as `Name <user@host>` or `user@host`. Raises RejectedError."""
    found = addresses(text)
    if len(found) != 1:
        raise RejectedError(f"one address is needed, not {len(found)}")
    return found[0]


def addresses(text: str) -> list[Address]:
    """The addresses in a text, with commas between, their domains as DNS has them. Raises RejectedError."""
    parsed = EmailMessage(policy=SMTPUTF8)
    try:
        parsed["To"] = _line("an address", text)
        header: Any = parsed["To"]
        found = [Address(one.display_name, one.username, _ascii(one.domain)) for one in header.addresses]
    except (HeaderError, ValueError, IndexError, AttributeError):  # its parser has a few ways to give up
        raise RejectedError("this is no mail address", where="recipients") from None
    defects = [one for one in header.defects if not isinstance(one, NonASCIILocalPartDefect)]
    if defects or not found or any(not one.username or not one.domain for one in found):
        raise RejectedError("this is no mail address", where="recipients")
    return found


def _ascii(domain: str) -> str:
    return domain if domain.isascii() else domain.encode("idna").decode()


def _template(found: Mistakes, text: str, *place: str | int) -> Template:
    template = Template("")
    with found.at(*place):
        template = Template(text)
    return template


def _line(what: str, text: str) -> str:
    if len(text.splitlines()) > 1 or any(sign < " " or "\x7f" <= sign < "\xa0" for sign in text):
        raise RejectedError(f"{what} has a line break or a control character")
    return _printable(text)


def _printable(text: str) -> str:
    """Half of a surrogate pair is no character."""
    return text.encode("utf-8", "replace").decode()


def _own_text(message: Message) -> str:
    try:
        return message.body.decode()
    except UnicodeDecodeError:
        raise RejectedError("the body is no text: write `text:`, or attach it") from None


