"""Carries out the effects of a plan on one machine. Each may be done again: what broke off half-way is not taken for
whole, since everything that is made is made beside, and then renamed.

Scripts are constant texts; what they work on comes as arguments.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from arint.bootstrap.effects import Account, Install, Prove, Serve, Start, Switch, Upload
from arint.bootstrap.facts import SYSTEM_USER, UNIT, Facts
from arint.bootstrap.services import STOPPING
from arint.bootstrap.ssh import SILENT, Remote
from arint.errors import ArintError, ConflictError, UnreachableError
from arint.operations.membership import Asked, JoinDocument, Joined, JoinRequest

if TYPE_CHECKING:
    from paramiko import Channel, SFTPClient

T = TypeVar("T")
_PART = 2**18
_UNPACKING = 300.0
_STARTING = 30.0

_ACCOUNT = """\
id -u "$1" >/dev/null 2>&1 ||
  useradd --system --user-group --no-create-home --home-dir "$2" --shell /usr/sbin/nologin "$1"
"""

_INSTALL = """\
set -e
umask 022
archive=$1 release=$2 prefix=$3 hash=$4
[ -f "$prefix/$release/bundle.json" ] && rm -f "$archive" && exit 0
mkdir -p "$prefix"
half=$prefix/.half-$release
rm -rf "$half"
mkdir "$half"
echo "$hash  $archive" | sha256sum --check --status || { echo "the archive is not what was sent" >&2; exit 1; }
tar -xzf "$archive" -C "$half" --no-same-owner
sync -f "$half" 2>/dev/null || sync
old=$prefix/.half-$release.old
rm -rf "$old"
[ ! -e "$prefix/$release" ] || mv -T "$prefix/$release" "$old"
mv -T "$half" "$prefix/$release"
rm -rf "$old"
rm -f "$archive"
"""

_SWITCH = """\
set -e
rm -f "$2/.current"
ln -s "$1" "$2/.current"
mv -fT "$2/.current" "$2/current"
"""

_HOME = """\
set -e
mkdir -p "$1"
chown "$2:" "$1"
chmod 700 "$1"
"""

_WRITE = """\
set -e
umask 022
mkdir -p "$(dirname "$1")"
cat >"$1.new"
mv -fT "$1.new" "$1"
"""

_UNIT = """\
set -e
systemctl daemon-reload
systemctl enable --quiet "$1"
"""

_DISABLE = """\
systemctl disable --quiet --now "$1" 2>/dev/null
rm -f "$2"
systemctl daemon-reload
exit 0
"""

_CLEAN = """\
set -e
[ -f "$1/node.json" ] || [ "$(stat -c %U "$1" 2>/dev/null)" = "$2" ] || exit 0
rm -rf --one-file-system "$1"
"""

_UNINSTALL = r"""
set -e
prefix=$1
shift
for folder in "$prefix"/* "$prefix"/.half-*; do
  name=${folder##*/}
  case $name in
    .half-*) [ -d "$folder" ] || continue;;
    *) if [ -L "$folder" ]; then [ "$name" = current ]; else [ -f "$folder/bundle.json" ]; fi || continue;;
  esac
  for kept in "$@"; do [ "$name" = "$kept" ] && continue 2; done
  case $name in
    current | .half-*) ;;
    *)
      half=$prefix/.half-$name
      rm -rf --one-file-system "$half"
      mv -T "$folder" "$half"
      folder=$half;;
  esac
  rm -rf --one-file-system "$folder"
done
[ "$#" -gt 0 ] || rmdir "$prefix" 2>/dev/null || true
"""

# Ends whatever runs the agent of this home, by its pid file, and waits for it.
_STOP = r"""
home=$1 seconds=$2
file=$home/run/supervisord.pid
if [ -f "$file" ]; then
  pid=$(cat "$file")
  # a number that another process has by now is not waited for
  case $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) in *"$home/supervisor.conf"*) kill -TERM "$pid";; *) pid=;; esac
fi
for found in $(grep -l -s -F nodeagent /proc/[0-9]*/cmdline); do
  words=$(tr '\0' ' ' <"$found" 2>/dev/null)
  agent=${found#/proc/} agent=${agent%/cmdline}
  case $words in *"-m nodeagent --home $home "*) kill -TERM "$agent"; agents="$agents $agent";; esac
done
for one in $pid $agents; do
  while kill -0 "$one" 2>/dev/null && [ "$(cut -d ' ' -f 3 "/proc/$one/stat" 2>/dev/null)" != Z ]; do
    [ "$seconds" -gt 0 ] || { echo "process $one does not end" >&2; exit 1; }
    seconds=$((seconds - 1))
    sleep 1
  done
done
exit 0
"""

# One supervisor a home: it holds a lock for as long as it lives.
_SUPERVISE = r"""
setsid -f flock -n "$2/run/supervisord.lock" "$1" --nodaemon -c "$2/supervisor.conf" </dev/null >/dev/null 2>&1
"""

_LOCK = r"""
umask 077
mkdir -p "$(dirname "$1")"
exec 9>>"$1"
if flock -n 9; then
  printf '%s\n' "$2" >"$1"
  # what an arintctl that was killed has begun there goes on by itself: wait for its end
  flock -w "$3" "$1.work" true || { echo "held by what an earlier run has begun"; exit 1; }
  echo locked
  exec cat >/dev/null
fi
echo "held $(cat "$1")"
"""

Said = Callable[[str], None]


class Machine:
    """A machine, and what is known of it, to carry out effects on."""

    def __init__(self, remote: Remote, facts: Facts, said: Said) -> None:
        self._remote = remote
        self.facts = facts
        self.said = said
        self._held: Channel | None = None

    @property
    def remote(self) -> Remote:
        """The connection to it."""
        return self._remote

    @property
    def name(self) -> str:
        """The node's name."""
        return self._remote.host.node

    def lock(self, who: str) -> None:
        """Hold the machine, for as long as the connection lasts: nobody else sets it up meanwhile.

        Raises ConflictError that says who does.
        """
        channel = self._remote.begin(["sh", "-c", _LOCK, "lock", self._lock_file, who, f"{_UNPACKING:g}"], root=True,
                                     more=True, timeout=_UNPACKING + _STARTING)
        try:
            answer = channel.recv(1000).decode(errors="replace").strip()
        except TimeoutError:
            answer = ""
        if answer != "locked":
            channel.close()
            raise ConflictError(f"the machine is being set up by {answer.removeprefix('held').strip() or 'another'}",
                                where=self.name, remedy="wait until that has ended, then run the same again")
        self._held = channel

    def upload(self, effect: Upload) -> None:
        """Send the archive; what lies there of an earlier attempt is gone on with. Raises ArintError."""
        import paramiko

        client = self._sftp()
        channel = client.get_channel()
        if channel is not None:
            channel.settimeout(2 * SILENT)
        try:
            self._remote.must(["mkdir", "-p", posixpath.dirname(effect.to)], "making the folder for the archive")
            if not self._is(effect.to, effect.sha256):
                self._send(client, effect)
        except (EOFError, OSError, paramiko.SSHException, paramiko.SFTPError) as error:
            if not self._remote.is_open or isinstance(error, EOFError | ConnectionError | TimeoutError):
                raise UnreachableError("the connection broke off while the archive was sent", where=self.name,
                                       remedy="run the same again: it goes on where it was") from None
            raise ArintError(f"the archive cannot be written: {error or 'no room'}", where=f"{self.name}: {effect.to}",
                             remedy="make room there, then run the same again") from None
        finally:
            with suppress(Exception):
                client.close()

    def _sftp(self) -> SFTPClient:
        import paramiko

        transport, client = self._remote.transport, None
        with suppress(paramiko.SSHException, paramiko.SFTPError, EOFError, OSError):
            client = transport.open_sftp_client()
        if client is None:
            self._remote.transport  # noqa: B018 - raises where the connection broke
            raise ArintError("it has no SFTP", where=self.name,
                             remedy="switch on `Subsystem sftp internal-sftp` in its sshd_config")
        return client

    def _send(self, client: SFTPClient, effect: Upload) -> None:
        part = f"{effect.to}.{effect.sha256[:16]}.part"
        for begin in (_size(client, part), 0):
            self._append(client, effect, part, begin if begin <= effect.size else 0)
            if self._is(part, effect.sha256):
                client.posix_rename(part, effect.to)
                return
        client.remove(part)
        raise ArintError("what arrived is not what was sent", where=f"{self.name}: {part}",
                         remedy="is its disk sound? run the same again")

    def _append(self, client: SFTPClient, effect: Upload, part: str, begin: int) -> None:
        with Path(effect.archive).open("rb") as source, client.open(part, "ab" if begin else "wb") as target:
            source.seek(begin)
            target.set_pipelined(True)
            sent, shown = begin, time.monotonic()
            while piece := source.read(_PART):
                target.write(piece)
                sent += len(piece)
                if time.monotonic() > shown + 0.2:
                    shown = time.monotonic()
                    self.said(f"sent {100 * sent // effect.size} %")

    def _is(self, file: str, sha256: str) -> bool:
        done = self._remote.run(["sha256sum", "--", file], timeout=_UNPACKING)
        return done.code == 0 and done.out.split(" ")[0] == sha256

    def account(self, effect: Account) -> None:
        """Make the system user."""
        self._script(_ACCOUNT, effect.user, effect.home, what=f"making the user {effect.user}")

    def install(self, effect: Install) -> None:
        """Unpack it beside, then rename."""
        self._script(_INSTALL, effect.archive, effect.release, effect.prefix, effect.sha256,
                     what="unpacking the bundle", timeout=_UNPACKING)

    def switch(self, effect: Switch) -> None:
        """At once, or not at all."""
        self._script(_SWITCH, effect.release, effect.prefix, what="switching to the release")

    def request(self, asked: Asked) -> JoinRequest:
        """Have it make its keys, and ask."""
        self._make_home()
        return decoded(self._arintctl("node", "request", given=asked), JoinRequest, self.name)

    def join(self, document: JoinDocument) -> Joined:
        """Make it the node of the document."""
        return decoded(self._arintctl("node", "join", "-o", "json", given=document), Joined, self.name)

    def admit(self, request: JoinRequest) -> JoinDocument:
        """Where this machine is a server: have it admit another."""
        return decoded(self._arintctl("node", "admit", given=request), JoinDocument, self.name)

    def ask(self, *words: str, timeout: float = 60.0) -> bytes:
        """What arintctl prints there. Raises what it says."""
        return self._arintctl(*words, timeout=timeout)

    def serve(self, effect: Serve) -> None:
        """Write what keeps the agent running."""
        words = ["sh", "-c", _WRITE, "write", effect.file]
        if effect.manager == "supervisor":
            words = self._as_owner(words)
        self._remote.must(words, f"writing {effect.file}", root=True, given=effect.content.encode())
        if effect.manager == "systemd":
            self._script(_UNIT, posixpath.basename(effect.file), what="enabling the unit")

    def start(self, effect: Start) -> None:
        """Start, or start again."""
        if effect.manager == "systemd":
            self._remote.must(["systemctl", "restart", "arint.service"], "starting the agent", root=True,
                              timeout=STOPPING + _STARTING)
            return
        self.stop()
        program = posixpath.join(self.facts.prefix, "current/bin/supervisord")
        self._remote.must(self._as_owner(["sh", "-c", _SUPERVISE, "arint", program, self.facts.home]),
                          "starting the supervisor", root=True, timeout=_STARTING)

    def stop(self) -> None:
        """End the agent, its workers and engines, and what keeps it running."""
        if self.facts.systemd_unit:
            self._remote.run(["systemctl", "stop", "arint.service"], root=True, timeout=STOPPING + _STARTING)
        self._script(_STOP, self.facts.home, str(STOPPING), what="stopping the agent", timeout=STOPPING + _STARTING)

    def disable(self) -> None:
        """Stop, and do not start again, not at boot either."""
        self.stop()
        if self.facts.systemd_unit:
            self._script(_DISABLE, "arint.service", UNIT, what="removing the unit", timeout=STOPPING + _STARTING)

    def clean(self) -> None:
        """Remove the home, if it is one."""
        self._script(_CLEAN, self.facts.home, SYSTEM_USER, what="removing the home", timeout=_UNPACKING)

    def uninstall(self, *keep: str) -> None:
        """Remove every release but these (and `current`, where any is kept)."""
        kept = (*keep, "current") if keep else ()
        self._script(_UNINSTALL, self.facts.prefix, *kept, what="removing releases", timeout=_UNPACKING)

    def prove(self, effect: Prove) -> None:
        """Raises what the machine says where it is not ready."""
        self._arintctl("node", "ready", "--timeout", f"{effect.timeout:g}s", timeout=effect.timeout + _STARTING)

    def command(self, *words: str) -> list[str]:
        """The words that run arintctl there, as the node's owner, with its home."""
        return self._as_owner([posixpath.join(self.facts.prefix, "current/bin/arintctl"), "--home", self.facts.home,
                               *words])

    def _arintctl(self, *words: str, given: msgspec.Struct | None = None, timeout: float = 60.0) -> bytes:
        """What it prints; its own words are the error where it refuses."""
        document = ("--document", "-") if given is not None else ()
        done = self._remote.run(self.command(*words, *document), root=True, timeout=timeout,
                                given=msgspec.json.encode(given) if given is not None else b"")
        if done.code:
            raise refused(done.code, done.error or done.out, f"{self.name}: arintctl {' '.join(words[:2])}")
        return done.out.encode()

    def _make_home(self) -> None:
        if self.facts.root:
            self._script(_HOME, self.facts.home, SYSTEM_USER, what="making the home")

    def _as_owner(self, words: Sequence[str]) -> list[str]:
        if not self.facts.root:
            return list(words)
        return ["runuser", "-u", SYSTEM_USER, "--", "env", "-C", "/", f"HOME={self.facts.home}", *words]

    @property
    def _lock_file(self) -> str:
        return "/run/arint-bootstrap.lock" if self.facts.root else posixpath.join(
            self.facts.folder, ".cache/arint-bootstrap.lock")

    def _script(self, script: str, *arguments: str, what: str, timeout: float = 60.0) -> str:
        """Run a script, while which no other is run there: also after this arintctl has ended."""
        alone = ["flock", "-o", "-w", f"{timeout:g}", f"{self._lock_file}.work"]
        return self._remote.must([*alone, "sh", "-c", script, "arint", *arguments], what, root=True,
                                 timeout=timeout + _STARTING)


def decoded(printed: bytes, kind: type[T], where: str) -> T:
    """What arintctl on another machine printed. Raises ArintError."""
    try:
        return msgspec.json.decode(printed, type=kind)
    except msgspec.MsgspecError as error:
        raise ArintError(f"what arintctl printed there cannot be read: {error}", where=where,
                         remedy="is its release another one, or does something in its shell's profile print?") from None


def refused(code: int, text: str, where: str) -> ArintError:
    """The error that arintctl on another machine left with, of the same kind as there."""
    kinds = {kind.exit_code: kind for kind in reversed(_all(ArintError)) if kind.exit_code != 1}
    words = "\n".join(text.strip().splitlines()[-12:]) or f"it ended with code {code}"
    return kinds.get(code, ArintError)(words, where=where)


def _all(kind: type[ArintError]) -> list[type[ArintError]]:
    return [kind] + [one for child in kind.__subclasses__() for one in _all(child)]


def _size(client: SFTPClient, file: str) -> int:
    try:
        return client.stat(file).st_size or 0
    except FileNotFoundError:
        return 0
