"""The home folder of a node: every path in one place, the node's own configuration, and the locks.

    HOME/node.json        who this node is, its ports (NodeConfig)
    HOME/backups.json     by which schedule the agent makes backups, and backups.last.json: what became of the last
    HOME/lock             held while an operation changes the home (`up`, `down`)
    HOME/pki/             CAs, certificates, the key ring of sealed secrets
    HOME/etcd/ nats/      the engines' data and configuration
    HOME/run/             pid files, the agent's socket and lock
    HOME/log/             one log a process
    HOME/data/            the built-in database, the users' files (ARINT_DATA)
    HOME/artifacts/       code, a folder a digest
    HOME/wheels/          packages that services require, a folder a digest
    HOME/requirements/    those packages installed, a folder a set

Folders are 0700 and files 0600: whoever reads the home owns the cluster. Where a service has a user of its own, others
may pass through (0711) to code whose digest they know; nothing can be listed, and keys stay closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from arint.errors import ArintError, ConflictError, DeniedError, NotFoundError, NotValidError
from arint.ports import Ports
from arint.registry.records import Capacity, Role
from arint.tracing.settings import TraceSettings

FORMAT = 1
SOCKET_PATH_LIMIT = 100  # sun_path holds 108 bytes; some are kept for temporary names beside it
_FOLDERS = ("pki", "etcd", "nats", "run", "log", "data", "artifacts", "wheels", "requirements")
_FILES = ("node.json", "lock")
_LET_THROUGH = 0o711


class Member(msgspec.Struct, frozen=True):
    """A node with engines, as others dial it."""

    host: str
    ports: Ports


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a node knows of itself before etcd can be asked."""

    format: int = FORMAT
    version: str
    """The release of ARINT that wrote it."""
    cluster: str
    node: str
    ports: Ports
    host: str = "127.0.0.1"
    fsync: bool = True
    """Whether the broker syncs to disk before it says yes."""
    created: float
    """Seconds since the epoch."""
    traces: TraceSettings | None = None
    """Where spans go; nowhere by default."""
    roles: tuple[Role, ...] = ("server", "worker")
    """`server`: it runs etcd and the broker; `worker`: services may be placed on it."""
    labels: dict[str, str] = {}
    """Those that the node is first recorded with; afterwards the record decides."""
    capacity: Capacity = Capacity()
    members: dict[str, Member] = {}
    """The servers of the cluster as they were last known, by name; empty where this node is the only one."""

    @property
    def is_server(self) -> bool:
        """Whether the engines run here."""
        return "server" in self.roles

    @property
    def servers(self) -> tuple[Member, ...]:
        """Whom to dial, this node itself first."""
        own = (Member(self.host, self.ports),) if self.is_server else ()
        return own + tuple(member for name, member in sorted(self.members.items()) if name != self.node)

    @property
    def etcd_endpoints(self) -> tuple[str, ...]:
        """`host:port` of every member of etcd, this node's first."""
        return tuple(f"{one.host}:{one.ports.etcd_client}" for one in self.servers)

    @property
    def nats_servers(self) -> tuple[str, ...]:
        """The address of every broker, this node's first."""
        return tuple(f"tls://{one.host}:{one.ports.nats}" for one in self.servers)


class Pem(NamedTuple):
    """The paths of one identity: the CA it trusts, its certificate, its private key."""

    ca: str
    certificate: str
    key: str


class _Format(msgspec.Struct):
    format: int


def default_home() -> Path:
    """$ARINT_HOME, else `arint` in the XDG data folder."""
    named = os.environ.get("ARINT_HOME")
    if named:
        return Path(named).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser().absolute() / "arint"


class Home:
    """The home folder at `path` (default: `default_home()`); it need not exist yet."""

    def __init__(self, path: Path | str | None = None) -> None:
        self.path = Path(path).expanduser().absolute() if path is not None else default_home()
        self.node_file = self.path / "node.json"
        self.lock_file = self.path / "lock"
        self.pki = self.path / "pki"
        self.etcd = self.path / "etcd"
        self.nats = self.path / "nats"
        self.run = self.path / "run"
        self.log = self.path / "log"
        self.data = self.path / "data"
        self.artifacts = self.path / "artifacts"
        self.wheels = self.path / "wheels"
        self.requirements = self.path / "requirements"
        self.internal_database = self.data / "internal.db"
        self.agent_lock_file = self.run / "agent.lock"
        self.directory_file = self.run / "directory"
        """Who serves what on other nodes (`arint.registry.directory`)."""

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    @property
    def socket(self) -> Path:
        """The agent's socket: in the home, or in a private temporary folder where that path is too long for one."""
        inside = self.run / "agent.sock"
        if len(os.fsencode(inside)) <= SOCKET_PATH_LIMIT:
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return _private_temporary_folder() / f"{digest}.sock"

    @staticmethod
    def port_claims() -> Path:
        """The file by which the homes of this user claim ports (`arint.ports.claims`)."""
        return _private_temporary_folder() / "ports.lock"

    def pid_file(self, name: str) -> Path:
        """Where the process `name` is recorded."""
        return self.run / f"{name}.json"

    def in_hand_file(self, instance: str) -> Path:
        """What a worker works at (`arint.bus.in_hand`)."""
        return self.run / f"{instance}.hand"

    def log_file(self, name: str) -> Path:
        """Where the process `name` writes what it prints."""
        return self.log / f"{name}.log"

    def artifact(self, digest: str) -> Path:
        """The folder of the unpacked code with this digest."""
        return self.artifacts / digest

    def requirement_set(self, digest: str) -> Path:
        """The folder of the installed packages of the set with this digest."""
        return self.requirements / digest

    def identity(self, name: str) -> Pem:
        """The PEM files of `name`, one of `arint.security.ca.IDENTITIES` (`etcd-agent`, `worker`, `admin`, …)."""
        ca = "etcd-ca" if name.startswith("etcd-") else "cluster-ca"
        return Pem(str(self.pki / f"{ca}.pem"), str(self.pki / f"{name}.pem"), str(self.pki / f"{name}.key"))

    def variables(self, config: NodeConfig) -> dict[str, str]:
        """What manifests may name as `${…}` on every node (`arint.resources.variables.BUILT_IN`)."""
        return {"ARINT_HOME": str(self.path), "ARINT_DATA": str(self.data), "ARINT_NODE": config.node,
                "ARINT_CLUSTER": config.cluster}

    @property
    def exists(self) -> bool:
        """Whether a node was set up here."""
        return self.node_file.exists()

    def make_folders(self) -> None:
        """Make the home and its folders, private to this user; idempotent.

        Raises NotValidError if the folder holds something else, DeniedError if it cannot be made or is another user's.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._refuse_strange_folder()
            _close(self.path)
            for name in _FOLDERS:
                folder = self.path / name
                folder.mkdir(exist_ok=True, mode=0o700)
                _close(folder)
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            where = str(error.filename or self.path)
            raise DeniedError(f"the home folder cannot be made: {error.strerror}", where=where,
                              remedy="name another folder with --home or ARINT_HOME") from error
        except OSError as error:
            raise ArintError(f"the home folder cannot be made: {error.strerror}", where=str(self.path),
                             remedy="name another folder with --home or ARINT_HOME") from error

    def let_through(self) -> None:
        """Let services with a user of their own go to their code, by its name, and dial the agent, who asks the kernel
        who they are. They can list and read nothing else.

        Raises NotValidError where the agent's socket is not in the home.
        """
        if self.socket.parent != self.run:
            raise NotValidError("the path of the home is too long for services with a user of their own",
                                where=str(self.path), remedy="set up a home with a shorter path: --home")
        for folder in (self.path, self.run, self.artifacts, self.requirements):
            if folder.is_dir():
                folder.chmod(_LET_THROUGH)
        if self.socket.exists():
            self.socket.chmod(0o666)

    def _refuse_strange_folder(self) -> None:
        """A mistyped --home must not chmod, and later purge, somebody's documents."""
        if self.path.stat().st_uid != os.geteuid():
            raise DeniedError("the home folder belongs to another user", where=str(self.path),
                              remedy="run as that user, or name another folder with --home")
        if self.exists:
            return
        strange = {entry.name for entry in self.path.iterdir()} - {*_FOLDERS, *_FILES}
        if strange:
            raise NotValidError(f"the folder is no ARINT home and not empty: it holds {min(strange)}",
                                where=str(self.path), remedy="name an empty or new folder with --home")

    def load(self) -> NodeConfig:
        """The node's configuration.

        Raises NotFoundError if no node was set up here, NotValidError if another release wrote it in another format.
        """
        try:
            text = self.node_file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError("no node was set up here", where=str(self.path),
                                remedy="run: arintctl up") from None
        except PermissionError:
            raise DeniedError("the home folder belongs to another user", where=str(self.path),
                              remedy="run as that user, or name another folder with --home") from None
        return _decode(text, self.node_file)

    def save(self, config: NodeConfig) -> None:
        """Write the node's configuration, at once or not at all."""
        write_private(self.node_file, msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")

    @contextlib.contextmanager
    def locked(self, purpose: str, *, wait: float = 0.0) -> Iterator[None]:
        """Hold the home's lock, so that no two operations change it at once.

        `purpose` is what the others are told; `wait` is how long to wait for another's end, in seconds.
        Raises ConflictError that says who holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        with exclusive(self.lock_file, purpose, wait):
            yield

    @contextlib.contextmanager
    def agent_lock(self, *, wait: float = 0.0) -> Iterator[None]:
        """Held by the agent for as long as it lives: one agent a home."""
        with exclusive(self.agent_lock_file, "the node agent", wait):
            yield


def _close(folder: Path) -> None:
    """Private; but that others may pass through was decided by the agent, and stays."""
    if stat.S_IMODE(folder.stat().st_mode) != _LET_THROUGH:
        folder.chmod(0o700)


def write_private(path: Path, data: bytes) -> None:
    """Write a 0600 file durably: readers see the old content or the new, also after a power loss."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _decode(text: bytes, file: Path) -> NodeConfig:
    try:
        found = msgspec.json.decode(text, type=_Format).format
        if found == FORMAT:
            return msgspec.json.decode(text, type=NodeConfig)
    except msgspec.MsgspecError as error:
        raise NotValidError(f"the node's configuration cannot be read: {error}", where=str(file),
                            remedy="restore it from a backup, or set up a new home with --home") from error
    raise NotValidError(f"the home has format {found}, and this release reads format {FORMAT}", where=str(file),
                        remedy="use the release that wrote it, or set up a new home with --home")


@contextlib.contextmanager
def exclusive(file: Path, purpose: str, wait: float) -> Iterator[None]:
    """Hold the lock `file`. Raises ConflictError that says who holds it, DeniedError where it cannot be made."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DeniedError(f"the lock cannot be made: {error.strerror}", where=str(file),
                          remedy="name another folder with --home or ARINT_HOME") from error
    try:
        _take(descriptor, file, time.monotonic() + wait)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{purpose}, process {os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)  # which releases the lock


def _take(descriptor: int, file: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
                raise ConflictError(f"the home is in use by: {holder}", where=str(file),
                                    remedy="wait for it to end, then try again") from None
            time.sleep(0.05)
        else:
            return


def _private_temporary_folder() -> Path:
    """A folder that only this user can enter, at the same path each time."""
    folder = Path(tempfile.gettempdir()) / f"arint-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
        raise DeniedError("the folder for sockets and locks is not private to this user", where=str(folder),
                          remedy="remove it, or name a home with a shorter path")
    return folder
