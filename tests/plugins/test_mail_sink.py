"""The mail sink against a real SMTP server, with TLS and log-in."""

from __future__ import annotations

import asyncio
import email
import ssl
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from hypothesis import given
from hypothesis import strategies as st

from arint.errors import ArintError, MessageError, NotFoundError, NotValidError, RejectedError, SystemUnavailableError
from arint.home import Home
from arint.message import Message
from arint.plugins import Delivery, SinkContext
from arint.ports import free_port
from arint.security.ca import ensure_pki
from plugins.mail.compose import Composer, address
from plugins.mail.sink import MailSink
from plugins.mail.specs import MailConnection, MailOptions

SENDER = "Orders <orders@example.com>"


class Post:
    """Keeps what it is given; refuses what it is told to."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.refuses: dict[str, str] = {}
        self.answer = "250 taken"
        self.greetings = 0

    async def handle_EHLO(self, server: SMTP, session: Session, envelope: Envelope, hostname: str,
                          responses: list[str]) -> list[str]:
        self.greetings += 1
        session.host_name = hostname
        return responses

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str,
                          options: list[str]) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 yes"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer.startswith("250"):
            mail: Any = email.message_from_bytes(envelope.original_content or b"", policy=default)
            self.mails.append((list(envelope.rcpt_tos), mail))
        return self.answer


def _log_in(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword) -> AuthResult:
    return AuthResult(success=data == LoginPassword(b"arint", b"pass word"), handled=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    home = Home(tmp_path_factory.mktemp("mail"))
    ensure_pki(home)
    pem = home.identity("nats-server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem.certificate, pem.key)
    return Path(pem.ca), context


class Server:
    def __init__(self, ca: Path, context: ssl.SSLContext) -> None:
        self.post, self.ca = Post(), ca
        self.port = free_port()
        self._context = context
        self.start()

    def start(self) -> None:
        self._controller = Controller(
            self.post, hostname="127.0.0.1", port=self.port, tls_context=self._context, require_starttls=True,
            authenticator=_log_in, auth_required=True, enable_SMTPUTF8=True, ready_timeout=30)
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()


@pytest.fixture
def server(certificate: tuple[Path, ssl.SSLContext]) -> Any:
    found = Server(*certificate)
    yield found
    found.stop()


def opened(server: Server, password: bytes = b"pass word", **spec: Any) -> MailSink:
    known = {"host": "127.0.0.1", "port": server.port, "ca": str(server.ca), "from": SENDER,
             "auth": {"user": "arint", "password": {"secret": "mail"}}, **spec}
    return MailSink(SinkContext("mail", msgspec.convert(known, MailConnection), {"mail": password}, ""))


@pytest.fixture
async def sink(server: Server) -> AsyncIterator[MailSink]:
    found = opened(server)
    yield found
    await found.close()


def delivery(body: Any = None, key: str = "k", /, **options: Any) -> Delivery:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    known = {"recipients": ["ann@example.com"], "subject": "Order", **options}
    return Delivery(Message.new(raw), body, msgspec.convert(known, MailOptions), key)


async def test_a_mail_with_all_its_parts(server: Server, sink: MailSink) -> None:
    order = {"id": "A1", "to": "Ann Ö <ann@example.com>", "note": "<b>1 & 2</b>", "pdf": "JVBERg=="}
    await sink.send(delivery(
        order, "key-1", recipients=["{{ body.to }}, bob@example.com"], cc=["cc@example.com"],
        bcc=["secret@example.com"],
        subject="Order {{ body.id }}: größer", text="Hello {{ body.note }}", html="<p>{{ body.note }}</p>",
        reply_to="shop@example.com",
        attachments=[{"name": "order.json"}, {"name": "{{ body.id }}.pdf", "content": "body.pdf", "base64": True},
                     {"name": "note.txt", "content": "body.note"}]))
    ((recipients, mail),) = server.post.mails
    assert recipients == ["ann@example.com", "bob@example.com", "cc@example.com", "secret@example.com"]
    assert (mail["From"], mail["Subject"], mail["Cc"]) == (SENDER, "Order A1: größer", "cc@example.com")
    assert "Ann Ö" in mail["To"]
    assert "bob@example.com" in mail["To"] and mail["Reply-To"] == "shop@example.com"
    assert "secret@example.com" not in mail.as_string()
    plain, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain.get_content().strip() == "Hello <b>1 & 2</b>"
    assert page.get_content().strip() == "<p>&lt;b&gt;1 &amp; 2&lt;/b&gt;</p>"
    files = {one.get_filename(): (one.get_content_type(), one.get_payload(decode=True))
             for one in mail.iter_attachments()}
    assert files["order.json"] == ("application/json", msgspec.json.encode(order))
    assert files["A1.pdf"] == ("application/pdf", b"%PDF")
    assert files["note.txt"] == ("text/plain", b"<b>1 & 2</b>")


async def test_addresses_beyond_ascii(server: Server, sink: MailSink) -> None:
    await sink.send(delivery(b"x", recipients=["jörg@bücher.example"]))
    ((recipients, mail),) = server.post.mails
    assert recipients == ["jörg@xn--bcher-kva.example"] and "jörg@" in mail["To"]


async def test_the_same_key_has_the_same_message_id(server: Server, sink: MailSink) -> None:
    for key in ("one", "one", "two"):
        await sink.send(delivery(b"hello", key))
    first, again, other = (mail["Message-ID"] for _, mail in server.post.mails)
    assert first == again != other and first.endswith("@example.com>")
    assert server.post.mails[0][1].get_content().strip() == "hello"


async def test_many_go_over_one_connection(server: Server, sink: MailSink) -> None:
    await sink.send(delivery(b"first"))
    greetings = server.post.greetings
    await asyncio.gather(*(sink.send(delivery(b"x", f"k{number}")) for number in range(100)))
    assert len(server.post.mails) == 101 and server.post.greetings == greetings


@pytest.mark.parametrize(("options", "body", "why"), [
    ({"subject": "{{ body.s }}"}, {"s": "a\r\nBcc: all@example.com"}, "subject has a line break"),
    ({"recipients": ["{{ body.s }}"]}, {"s": "a@example.com\nBcc: x@example.com"}, "line break"),
    ({"recipients": ["{{ body.s }}"]}, {"s": "nobody"}, "no mail address"),
    ({"recipients": ["{{ body.s }}"]}, {"s": "@"}, "no mail address"),
    ({"recipients": ["{{ body.s }}"]}, {"s": ""}, "no mail address"),
    ({"recipients": ["{{ body.missing }}"]}, {"s": ""}, "missing"),
    ({"attachments": [{"name": "a", "content": "body.s", "base64": True}]}, {"s": "***"}, "not base64"),
    ({"attachments": [{"name": "{{ body.s }}"}]}, {"s": "a\nb"}, "line break"),
    ({}, b"\xff\xfe", "no text"),
])
async def test_what_is_no_mail_is_rejected(sink: MailSink, options: dict[str, Any], body: Any, why: str) -> None:
    with pytest.raises(RejectedError, match=why):
        await sink.send(delivery(body, **options))


async def test_a_refused_recipient_keeps_the_mail_from_all(server: Server, sink: MailSink) -> None:
    both = {"recipients": ["ann@example.com", "gone@example.com"]}
    server.post.refuses["gone@example.com"] = "550 no such user"
    with pytest.raises(RejectedError, match=r"550 no such user for gone@example\.com"):
        await sink.send(delivery(b"x", **both))
    server.post.refuses["gone@example.com"] = "450 mailbox busy"
    with pytest.raises(MessageError, match="450") as found:
        await sink.send(delivery(b"x", **both))
    assert not isinstance(found.value, RejectedError) and not server.post.mails
    await sink.send(delivery(b"x"))
    assert len(server.post.mails) == 1


@pytest.mark.parametrize(("answer", "kind"), [("554 spam", RejectedError), ("451 later", MessageError),
                                              ("421 closing", SystemUnavailableError)])
async def test_what_the_server_says_decides(server: Server, sink: MailSink, answer: str,
                                            kind: type[ArintError]) -> None:
    server.post.answer = answer
    with pytest.raises(kind):
        await sink.send(delivery(b"x"))


async def test_a_server_that_is_away_is_waited_for(server: Server, sink: MailSink) -> None:
    await sink.send(delivery(b"1"))
    server.stop()
    for _ in range(2):
        with pytest.raises(SystemUnavailableError):
            await sink.send(delivery(b"2"))
    with pytest.raises(SystemUnavailableError):
        await sink.probe()
    server.start()
    await sink.probe()
    await sink.send(delivery(b"3"))
    assert [mail.get_content().strip() for _, mail in server.post.mails] == ["1", "3"]


async def test_a_wrong_password_is_the_systems_trouble(server: Server) -> None:
    found = opened(server, b"wrong")
    with pytest.raises(SystemUnavailableError, match="check the user"):
        await found.send(delivery(b"x"))
    await found.close()


async def test_a_certificate_of_nobody_is_not_trusted(server: Server) -> None:
    found = opened(server, ca="")
    with pytest.raises(SystemUnavailableError, match=r"(?i)certificate"):
        await found.send(delivery(b"x"))
    await found.close()


async def test_a_server_without_tls_gets_nothing(certificate: tuple[Path, ssl.SSLContext]) -> None:
    plain = Controller(Post(), hostname="127.0.0.1", port=free_port())
    plain.start()
    try:
        known = {"host": "127.0.0.1", "port": plain.port, "from": SENDER}
        found = MailSink(SinkContext("mail", msgspec.convert(known, MailConnection), {}, ""))
        with pytest.raises(SystemUnavailableError):
            await found.send(delivery(b"x"))
        await found.close()
    finally:
        plain.stop()


async def test_a_server_that_says_nothing(sink: MailSink, server: Server) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listening:
        server.port = listening.sockets[0].getsockname()[1]
        found = opened(server, timeout="200ms")
        with pytest.raises(SystemUnavailableError):
            await found.send(delivery(b"x"))
        await found.close()


@pytest.mark.parametrize(("build", "why"), [
    (lambda: msgspec.convert({"host": "h", "from": SENDER, "tls": "none",
                              "auth": {"user": "u", "password": {"secret": "s"}}}, MailConnection), "over TLS only"),
    (lambda: msgspec.convert({"recipients": ["{{ boddy.x }}"], "subject": "s"}, MailOptions), r"recipients\.0"),
    (lambda: msgspec.convert({"recipients": [], "subject": "s"}, MailOptions), "length"),
])
def test_mistakes_are_found_when_it_is_written(build: Callable[[], Any], why: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=why):
        build()


def test_a_sender_and_a_secret_that_are_none(server: Server) -> None:
    with pytest.raises(NotValidError, match="from"):
        opened(server, **{"from": "nobody"})
    spec = msgspec.convert({"host": "h", "from": SENDER, "auth": {"user": "u", "password": {"secret": "s"}}},
                           MailConnection)
    with pytest.raises(NotFoundError, match="no secret s"):
        MailSink(SinkContext("mail", spec, {}, ""))


ANY = Composer(msgspec.convert({"recipients": ["{{ body.to }}"], "subject": "{{ body.subject }}",
                                "text": "{{ body.text }}", "html": "{{ body.text }}"}, MailOptions))


@given(st.fixed_dictionaries({"to": st.text(max_size=30) | st.just("a@b.c"), "subject": st.text(max_size=60),
                              "text": st.text(max_size=60)}))
def test_whatever_a_message_says_it_adds_no_header(said: dict[str, str]) -> None:
    try:
        body = msgspec.json.encode(said)
        mail = ANY.compose(Message.new(body), address(SENDER), "k")
    except RejectedError:
        return
    read = email.message_from_bytes(mail.data, policy=default)
    assert set(read.keys()) <= {"From", "Message-ID", "Date", "Subject", "To", "X-Correlation-Id", "MIME-Version",
                                "Content-Type", "Content-Transfer-Encoding"}
    assert len(read.get_all("To")) == 1 and mail.recipients


def test_a_port_may_be_a_variable() -> None:
    for port in (2525, "2525", "${MAIL_PORT}"):
        msgspec.convert({"host": "h", "port": port, "from": SENDER}, MailConnection)
    for port in ("mail", "99999", "${MAIL_PORT}1", -1):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"host": "h", "port": port, "from": SENDER}, MailConnection)
