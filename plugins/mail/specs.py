"""What a user writes under `mail:` in a connection, and beside a `send` step's `to`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from arint.flows.step import StepError
from arint.resources.kinds import Duration, SecretReference

Text = Annotated[str, msgspec.Meta(min_length=1, description="text with CEL in double braces")]
HIGHEST_PORT = 65535
Port = Annotated[int, msgspec.Meta(ge=0, le=HIGHEST_PORT)] | Annotated[str, msgspec.Meta(
    pattern=r"^(\d{1,5}|\$\{[A-Za-z_][A-Za-z0-9_]*\})$")]
"""A number, or the variable that holds it: its value is text."""
PORTS = {"starttls": 587, "implicit": 465, "none": 25}


class MailAuth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who we are to the mail server."""

    user: Annotated[str, msgspec.Meta(min_length=1)]
    password: SecretReference


class MailConnection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True,
                     rename={"sender": "from"}):
    """A mail server (SMTP submission, RFC 6409). It must speak TLS, unless `tls: none` says otherwise."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    port: Annotated[Port, msgspec.Meta(description="0: 587, 465 or 25, as `tls` says")] = 0
    tls: Literal["starttls", "implicit", "none"] = "starttls"
    ca: Annotated[str, msgspec.Meta(description="PEM file of the CA to trust instead of the public ones")] = ""
    auth: MailAuth | None = None
    sender: Annotated[str, msgspec.Meta(min_length=3, description="such as Orders <orders@example.com>")]
    timeout: Annotated[Duration, msgspec.Meta(description="of one mail")] = "30s"

    def __post_init__(self) -> None:
        if self.auth is not None and self.tls == "none":
            raise ValueError("auth: a password is sent over TLS only")
        if isinstance(self.port, str) and self.port.isdecimal() and int(self.port) > HIGHEST_PORT:
            raise ValueError(f"port: {self.port} is above {HIGHEST_PORT}")


class Attachment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A file that goes along. Without `content` it is the message's body, byte for byte."""

    name: Text
    content: Annotated[str, msgspec.Meta(description="CEL; text as UTF-8, other values as JSON")] = ""
    base64: Annotated[bool, msgspec.Meta(description="what `content` gives is base64 of the file")] = False
    content_type: Annotated[str, msgspec.Meta(pattern=r"^([\w.+-]+/[\w.+-]+)?$", description="else by the name")] = ""


class MailOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a `send` step says besides `to`. Without `text` and `html` the mail's text is the message's body.

    Each recipient is an address, or several with commas between; what the message says is put in, escaped in `html`.
    """

    recipients: Annotated[list[Text], msgspec.Meta(min_length=1, max_length=100)]
    cc: Annotated[list[Text], msgspec.Meta(max_length=100)] = []
    bcc: Annotated[list[Text], msgspec.Meta(max_length=100)] = []
    reply_to: str = ""
    subject: Text
    text: str = ""
    html: str = ""
    attachments: Annotated[list[Attachment], msgspec.Meta(max_length=50)] = []
    timeout: Duration | None = None

    def __post_init__(self) -> None:
        from plugins.mail.compose import Composer

        try:
            Composer(self)
        except StepError as error:
            raise ValueError(f"{'.'.join(map(str, error.path))}: {error.message}") from None
