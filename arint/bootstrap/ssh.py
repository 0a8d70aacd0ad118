"""A machine over SSH: reached as its inventory says, commands run and files sent there, everything within a time.

A command is a list of words; the one place where SSH needs a line for the shell of the other side is `Remote.line`.
Passwords go over the standard input of `sudo`, never into words that others see.
"""

from __future__ import annotations

import getpass
import shlex
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from arint.bootstrap.hostkeys import KnownHosts
from arint.bootstrap.inventory import Host, Password, hop_parts
from arint.bootstrap.passwords import Passwords
from arint.errors import ArintError, DeniedError, NotValidError, TimedOutError, UnreachableError

if TYPE_CHECKING:
    from paramiko import Channel, SSHClient, Transport

CONNECT = 15.0
"""Seconds for each of: the connection, the banner, the login."""
COMMAND = 60.0
SILENT = 20.0
"""Seconds without an answer of the other side's kernel, after which a connection has ended."""
SIGNALLED = 255
"""The exit code of a command that a signal has ended, as `ssh` has it."""
_SETTLING = 2.0
LARGEST_OUTPUT = 8 * 2**20
_PART = 2**15
_BREAK = (EOFError, ConnectionError, OSError)


class Done(NamedTuple):
    """What became of a command."""

    code: int
    out: str
    error: str


class Way(NamedTuple):
    """How one machine (the last, or one to jump over) is reached."""

    name: str
    host: str
    port: int
    user: str
    keys: tuple[str, ...]
    command: str
    jump: tuple[str, ...]


class Remote:
    """A connection to a machine. Methods block; each is used from one thread at a time, but `close` from any."""

    def __init__(self, host: Host, clients: list[SSHClient], user: str) -> None:
        self.host = host
        self.user = user
        self.root = False
        """Whether commands with `root=True` go through sudo."""
        self.sudo_password: str | None = None
        self._clients = clients

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Break off; whoever waits for an answer gets an error."""
        for client in reversed(self._clients):
            with suppress(Exception):
                client.close()

    @property
    def is_open(self) -> bool:
        """Whether the connection stands."""
        found = self._clients[-1].get_transport()
        return found is not None and found.is_active()

    @property
    def transport(self) -> Transport:
        """Raises UnreachableError where the connection has ended."""
        found = self._clients[-1].get_transport()
        if found is None or not found.is_active():
            raise _ended(self.host)
        return found

    def run(self, words: Sequence[str], *, given: bytes = b"", root: bool = False, timeout: float = COMMAND) -> Done:
        """Run a command to its end. `root`: by sudo, where that is needed.

        Raises UnreachableError (the connection broke), TimedOutError.
        """
        channel = self.begin(words, root=root, given=given, timeout=timeout)
        error: list[bytes] = []
        reader = threading.Thread(target=_drain, args=(channel, error), daemon=True)
        reader.start()
        deadline = time.monotonic() + timeout
        try:
            out = _whole(channel, deadline)
            reader.join(max(0.0, deadline - time.monotonic()))
            code = self.code_of(channel, deadline - time.monotonic())
        except TimeoutError:
            raise TimedOutError(f"`{words[0]}` did not end within {timeout:g} seconds", where=self.host.node,
                                remedy="look at that machine, then run the same again") from None
        except _BREAK:
            raise _ended(self.host) from None
        finally:
            channel.close()
        return Done(code, out.decode(errors="replace"), b"".join(error).decode(errors="replace"))

    def code_of(self, channel: Channel, wait: float) -> int:
        """The exit code of a command whose output has ended, after `wait` seconds at most.

        Raises UnreachableError (the connection broke), TimeoutError.
        """
        if not channel.status_event.wait(max(0.0, wait)):
            raise TimeoutError
        code = channel.recv_exit_status()
        if code >= 0:
            return code
        transport = channel.get_transport()  # its channels end a moment before it does
        if transport is None or not transport.is_active() or _has_ended(transport):
            raise _ended(self.host)
        return SIGNALLED

    def must(self, words: Sequence[str], what: str, **options: Any) -> str:
        """What the command printed. Raises ArintError with its last words where it failed."""
        done = self.run(words, **options)
        if done.code:
            lines = (done.error.strip() or done.out.strip()).splitlines()
            raise ArintError(f"{what} failed: {chr(10).join(lines[-5:]) or f'code {done.code}'}", where=self.host.node)
        return done.out

    def begin(self, words: Sequence[str], *, root: bool = False, given: bytes = b"", more: bool = False,
              timeout: float = COMMAND) -> Channel:
        """Start a command, and give it this input; with `more` its input stays open."""
        import paramiko

        try:
            channel = self.transport.open_session(timeout=CONNECT)
            channel.settimeout(timeout)
            channel.exec_command(self.line(words, root))
            if root and self.root and self.sudo_password is not None:
                channel.sendall(f"{self.sudo_password}\n".encode())
            channel.sendall(given)
            if not more:
                channel.shutdown_write()
        except (paramiko.SSHException, *_BREAK):
            raise _ended(self.host) from None
        return channel

    def reaches(self, host: str, port: int, timeout: float = 5.0) -> bool | None:
        """Whether that machine can open a connection to there; None if its sshd does not let us ask."""
        import paramiko

        try:
            channel = self.transport.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout)
        except paramiko.ChannelException as error:
            return None if error.code == 1 else False
        except (paramiko.SSHException, *_BREAK):
            return False
        channel.close()
        return True

    def line(self, words: Sequence[str], root: bool) -> str:
        """The words as a line for the shell of the other side."""
        return shlex.join([*(("sudo", "-S", "-k", "-p", "", "--") if root and self.root else ()), *words])


def connect(host: Host, known: KnownHosts, passwords: Passwords) -> Remote:
    """Reach a machine and log in. Raises UnreachableError, DeniedError, with what to do about it, NotValidError."""
    if host.local:
        raise NotValidError("it is this machine itself (local: true)", where=host.node,
                            remedy="arintctl up, down and node are for it")
    clients: list[SSHClient] = []
    try:
        way = _way(host.host, host.port, host.user, host.key, host)
        sock = None
        for hop in way.jump:
            clients.append(_login(_hop(hop, host), host, known, passwords, sock, source="ask"))
            sock = clients[-1]
        clients.append(_login(way, host, known, passwords, sock, source=host.password or "ask"))
    except BaseException:
        for client in reversed(clients):
            client.close()
        raise
    return Remote(host, clients, way.user)


def _hop(hop: str, host: Host) -> Way:
    parts = hop_parts(hop)
    if parts is None:
        raise NotValidError(f"{hop!r} is no machine to jump over", where=host.place or host.node)
    return _way(parts[1], parts[2], parts[0], host.key, host)


def _way(name: str, port: int, user: str, key: str, host: Host) -> Way:
    """What the inventory says, and where it says nothing, what `~/.ssh/config` does."""
    import paramiko

    file, found = Path.home() / ".ssh/config", {}
    if host.ssh_config and file.is_file():
        try:
            found = dict(paramiko.SSHConfig.from_path(str(file)).lookup(name))
        except (paramiko.SSHException, ImportError, OSError, ValueError) as error:
            raise NotValidError(f"it cannot be read: {error}", where=str(file),
                                remedy="correct it, or say `ssh_config: false` in the inventory") from None
    jump = host.jump or tuple(word.strip() for word in str(found.get("proxyjump", "none")).split(","))
    keys = (key,) if key else tuple(found.get("identityfile", ()))
    command = str(found.get("proxycommand", "none"))
    return Way(name, str(found.get("hostname", name)), port or int(found.get("port", 22)),
               user or str(found.get("user", "")) or getpass.getuser(),
               tuple(str(Path(one).expanduser()) for one in keys),
               "" if command == "none" or host.jump else command, () if jump == ("none",) else jump)


def _login(way: Way, host: Host, known: KnownHosts, passwords: Passwords, over: SSHClient | None, *,
           source: Password) -> SSHClient:
    """A client that is logged in, through the machine `over` where there is one. `source` is its own password's: a
    machine to jump over is never offered the target's.
    """
    import paramiko

    missing = [key for key in way.keys if not Path(key).is_file()]
    if missing and host.key:
        raise NotValidError("the private key is not there", where=missing[0], remedy=f"see {host.place}")
    client = paramiko.SSHClient()
    known.prepare(client, host.known_hosts)
    try:
        _authenticate(client, way, host, passwords, over, source)
    except paramiko.BadHostKeyException as error:
        client.close()
        raise known.changed(error.hostname, error.key, host.known_hosts) from None
    except paramiko.AuthenticationException:
        client.close()
        raise DeniedError(f"it does not let {way.user} in: no key and no password was right", where=_address(way),
                          remedy="name user and key in the inventory, or `password: ask`; try: "
                                 f"ssh -p {way.port} {way.user}@{way.host}") from None
    except (paramiko.SSHException, *_BREAK) as error:
        client.close()
        raise UnreachableError(f"it is not reached by SSH: {_words(error)}", where=_address(way),
                               remedy="is it on, is the address right, does sshd run there?") from None
    except BaseException:
        client.close()
        raise
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(5)
        if isinstance(transport.sock, socket.socket):  # else it goes through another connection, which breaks with it
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENT * 1000))
    return client


def _authenticate(client: SSHClient, way: Way, host: Host, passwords: Passwords, over: SSHClient | None,
                  source: Password) -> None:
    """Keys first; then a password, where the inventory says that there is one, or somebody can be asked."""
    import paramiko

    keys = [key for key in way.keys if Path(key).is_file()]
    options: dict[str, Any] = {"key_filename": keys or None, "allow_agent": host.agent and not host.key,
                               "look_for_keys": not keys}
    who = f"{way.user}@{way.host}"
    try:
        _open(client, way, over, **options)
    except paramiko.PasswordRequiredException:
        phrase = passwords.get(host.passphrase or "ask", f"passphrase of {', '.join(keys) or 'the key'}")
        if phrase is None:
            raise DeniedError("the private key has a passphrase, and nobody can be asked for it", where=who,
                              remedy="add it to ssh-agent, or name where it is: passphrase: {file: PATH}") from None
        with suppress(paramiko.AuthenticationException):
            try:
                _open(client, way, over, **options, passphrase=phrase)
            except (paramiko.SSHException, ValueError) as error:
                if isinstance(error, (paramiko.BadHostKeyException, paramiko.AuthenticationException)):
                    raise
                raise DeniedError("the passphrase of the private key is not right", where=who) from None
            return
    except paramiko.AuthenticationException:
        pass
    else:
        return
    password = passwords.get(source, f"password of {who}")
    if password is None:
        raise paramiko.AuthenticationException
    _open(client, way, over, password=password, allow_agent=False, look_for_keys=False)


def _open(client: SSHClient, way: Way, over: SSHClient | None, **options: Any) -> None:
    import paramiko

    sock: Any = None
    if over is not None:
        transport = over.get_transport()
        if transport is None:
            raise ConnectionResetError("the machine to jump over hung up")
        sock = transport.open_channel("direct-tcpip", (way.host, way.port), ("127.0.0.1", 0), timeout=CONNECT)
    elif way.command:
        sock = paramiko.ProxyCommand(way.command)
    client.connect(way.host, way.port, way.user, sock=sock, timeout=CONNECT, banner_timeout=CONNECT,
                   auth_timeout=CONNECT, channel_timeout=CONNECT, **options)


def _address(way: Way) -> str:
    return f"{way.user}@{way.host}:{way.port}"


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing answered within {CONNECT:g} seconds"
    if isinstance(error, socket.gaierror):
        return "there is no such name"
    causes = getattr(error, "errors", None)
    if isinstance(causes, dict) and causes:
        error = next(iter(causes.values()))
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _ended(host: Host) -> UnreachableError:
    return UnreachableError("the connection broke off", where=host.node,
                            remedy="run the same again: what is done stays done")


def _whole(channel: Channel, deadline: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        channel.settimeout(max(0.01, deadline - time.monotonic()))
        part = channel.recv(_PART)
        if not part:
            return b"".join(parts)
        size += len(part)
        if size > LARGEST_OUTPUT:
            raise ArintError(f"a command printed more than {LARGEST_OUTPUT} bytes")
        parts.append(part)


def _has_ended(transport: Transport) -> bool:
    transport.join(_SETTLING)
    return not transport.is_active()


def _drain(channel: Channel, into: list[bytes]) -> None:
    """Its complaints, the last of them at most."""
    with suppress(TimeoutError, *_BREAK):
        while part := channel.recv_stderr(_PART):
            into.append(part)
            if sum(map(len, into)) > 2**20:
                del into[0]
