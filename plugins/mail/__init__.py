"""Mail out by SMTP. Light: the client is imported when first used."""

from __future__ import annotations

from arint.plugins import Plugin, Transport
from plugins.mail.specs import MailConnection, MailOptions

plugin = Plugin(
    name="mail",
    summary="Mail: messages as mails over one encrypted SMTP connection",
    transports=(
        Transport(name="mail", connection=MailConnection, options=MailOptions, sink="plugins.mail.sink:MailSink"),
    ),
)
