"""What a machine is, before anything is done to it: read by one script that needs no more than a POSIX shell."""

from __future__ import annotations

import posixpath
from typing import NamedTuple

import msgspec

from arint.bootstrap.ssh import Remote
from arint.errors import ArintError, DeniedError
from arint.home import NodeConfig

ROOT_PREFIX, ROOT_HOME = "/opt/arint", "/var/lib/arint"
USER_PREFIX, USER_HOME = ".local/opt/arint", ".local/share/arint"
UNIT = "/etc/systemd/system/arint.service"
SYSTEM_USER = "arint"
_NEEDED = ("tar", "gzip", "sha256sum", "flock", "mv", "df", "grep")
_NEEDED_BY_ROOT = ("runuser", "useradd")

_WHO = """\
echo "uid=$(id -u)"
echo "user=$(id -un)"
echo "folder=$HOME"
command -v sudo >/dev/null 2>&1 && echo sudo=there
sudo -k -n true >/dev/null 2>&1 && echo sudo=free
exit 0
"""

_FACTS = r"""
prefix=$1 home=$2 unit=$3 folder=$4
shift 4
near() { d=$1; while [ ! -d "$d" ] && [ "$d" != / ]; do d=$(dirname "$d"); done; echo "$d"; }
echo "system=$(uname -s)"
echo "machine=$(uname -m)"
echo "glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>/dev/null | head -n 1)"
echo "hostname=$(hostname 2>/dev/null || cat /etc/hostname)"
echo "machine_id=$(cat /etc/machine-id 2>/dev/null)"
echo "now=$(date +%s)"
echo "processors=$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
for tool in "$@"; do command -v "$tool" >/dev/null 2>&1 || echo "missing=$tool"; done
[ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1 && echo systemd=yes
for folder in "$prefix" "$home" "$folder"; do
  d=$(near "$folder")
  [ -w "$d" ] && w=yes || w=no
  echo "disk=$folder $w $(df -Pk "$d" 2>/dev/null | { read -r _; read -r device _ _ free _; echo "$device $free"; })"
done
for file in "$prefix"/*/bundle.json; do
  [ -f "$file" ] && d=${file%/bundle.json} && case $d in */current) ;; *) echo "installed=${d##*/}";; esac
done
[ -L "$prefix/current" ] && echo "current=$(readlink "$prefix/current")"
[ -f "$home/node.json" ] && echo "node=$(tr -d '\n' <"$home/node.json")"
echo "owner=$(stat -c %U "$home" 2>/dev/null)"
for file in "$unit" "$home/supervisor.conf"; do
  [ -f "$file" ] && echo "service=$(sha256sum <"$file" | cut -c 1-64)"
done
id -u arint >/dev/null 2>&1 && echo account=yes
systemctl is-enabled arint.service >/dev/null 2>&1 && echo enabled=yes
for file in $(grep -l -s -F nodeagent /proc/[0-9]*/cmdline); do
  words=$(tr '\0' ' ' <"$file" 2>/dev/null)
  pid=${file#/proc/} pid=${pid%/cmdline}
  case $words in *"-m nodeagent --home $home "*) echo "runs=$(readlink "/proc/$pid/exe")";; esac
done
other=$(command -v arintctl 2>/dev/null) && echo "other=$other"
[ "$home" = /var/lib/arint ] && [ -f "$HOME/.local/share/arint/node.json" ] && echo "other=$HOME/.local/share/arint"
exit 0
"""


class Disk(msgspec.Struct, frozen=True):
    """Where a folder lies or would lie: whether it can be written there, on which device, with so many bytes free."""

    writable: bool
    device: str
    free: int


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `root`: it is set up for the whole machine, not for one user."""

    user: str
    root: bool
    sudo: bool
    """Whether root is reached by sudo."""
    folder: str
    """The home of who logs in."""
    prefix: str
    home: str
    system: str = ""
    machine: str = ""
    glibc: str = ""
    hostname: str = ""
    machine_id: str = ""
    skew: float = 0.0
    """Seconds by which its clock is ahead of this one's."""
    processors: int = 0
    missing: tuple[str, ...] = ()
    systemd: bool = False
    disks: dict[str, Disk] = {}
    """Of the prefix, the home, and the folder of who logs in."""
    installed: tuple[str, ...] = ()
    current: str = ""
    node: NodeConfig | None = None
    strange: str = ""
    """A node.json in the home folder that cannot be read."""
    owner: str = ""
    service: str = ""
    """SHA-256 of the unit, or of the supervisor's configuration."""
    enabled: bool = False
    account: bool = False
    running: str = ""
    """The release folder that the agent of this home runs from."""
    others: tuple[str, ...] = ()
    """Other installations."""

    @property
    def systemd_unit(self) -> bool:
        """Whether systemd keeps the agent running: it needs root's rights."""
        return self.systemd and self.root

    @property
    def standing(self) -> Standing:
        """What a saved plan was made from, without what changes by itself."""
        return Standing(self.user, self.root, self.prefix, self.home, self.system, self.machine, self.glibc,
                        self.hostname, self.machine_id, self.systemd, self.installed, self.current,
                        self.node.node if self.node is not None else "",
                        self.node.cluster if self.node is not None else "", self.service, self.running)


class Standing(NamedTuple):
    """The facts by which a saved plan is compared."""

    user: str
    root: bool
    prefix: str
    home: str
    system: str
    machine: str
    glibc: str
    hostname: str
    machine_id: str
    systemd: bool
    installed: tuple[str, ...]
    current: str
    node: str
    cluster: str
    service: str
    running: str


def become(remote: Remote, password: str | None) -> tuple[bool, str]:
    """Find out whether root's rights are to be had, and see to it; whether they are, and the folder of who logs in.

    `password` is sudo's. Raises DeniedError where sudo was asked for and does not let us.
    """
    found = dict(line.partition("=")[::2] for line in
                 remote.must(["sh", "-c", _WHO], "asking who logs in").splitlines() if "=" in line)
    folder, wanted = found.get("folder", "/"), remote.host.sudo
    if found.get("uid") == "0":
        return True, folder
    if wanted is False:
        return False, folder
    if found.get("sudo") == "free":
        remote.root = True
        return True, folder
    if password is None or found.get("sudo") is None:
        if not wanted:
            return False, folder
        what = "there is no sudo" if found.get("sudo") is None else "sudo wants a password"
        raise DeniedError(f"{what} for {found.get('user')}", where=remote.host.node,
                          remedy="log in as root, add `sudo_password: ask`, or `sudo: false` to set it up for "
                                 "this user alone")
    done = remote.run(["sudo", "-S", "-k", "-p", "", "--", "true"], given=f"{password}\n".encode(), timeout=20)
    if done.code:
        raise DeniedError(f"sudo does not let {found.get('user')} become root: "
                          f"{_first(done.error) or 'the password is not right'}", where=remote.host.node,
                          remedy="correct the sudo password, or log in as root")
    remote.root, remote.sudo_password = True, password
    return True, folder


def gather(remote: Remote, password: str | None, now: float) -> Facts:
    """The facts of a machine; `now` is the time here, in seconds since the epoch. Raises DeniedError, ArintError."""
    root, folder = become(remote, password)
    prefix = remote.host.prefix or (ROOT_PREFIX if root else posixpath.join(folder, USER_PREFIX))
    home = remote.host.home or (ROOT_HOME if root else posixpath.join(folder, USER_HOME))
    needed = (*_NEEDED, *(_NEEDED_BY_ROOT if root else ()))
    text = remote.must(["sh", "-c", _FACTS, "facts", prefix, home, UNIT if root else "/nowhere", folder,
                        *needed],
                       "reading what the machine is", root=True)
    return parse(text, Facts(user=remote.user, root=root, sudo=remote.root, folder=folder, prefix=prefix, home=home),
                 now)


def parse(text: str, facts: Facts, now: float) -> Facts:
    """What the script printed. Pure."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, sign, value = line.partition("=")
        if sign:
            found.setdefault(name, []).append(value.strip())

    def one(name: str) -> str:
        return found.get(name, [""])[0]

    node, strange = _node(one("node"))
    runs = one("runs")
    inside = runs.removeprefix(f"{facts.prefix}/") if runs.startswith(f"{facts.prefix}/") else runs
    try:
        skew = int(one("now")) - now
    except ValueError:
        raise ArintError("it does not tell its time", where=facts.user) from None
    return msgspec.structs.replace(
        facts, system=one("system").lower(), machine=one("machine"), glibc=_version(one("glibc")),
        hostname=one("hostname"), machine_id=one("machine_id"), skew=skew,
        processors=_number(one("processors")), missing=tuple(found.get("missing", ())),
        systemd=bool(one("systemd")), disks=dict(filter(None, map(_disk, found.get("disk", ())))),
        installed=tuple(sorted(found.get("installed", ()))), current=one("current"), node=node,
        strange=strange, owner=one("owner"), service=one("service"), enabled=bool(one("enabled")),
        account=bool(one("account")), running=inside.partition("/")[0] if inside != runs else runs,
        others=tuple(found.get("other", ())))


def _node(text: str) -> tuple[NodeConfig | None, str]:
    if not text:
        return None, ""
    try:
        return msgspec.json.decode(text, type=NodeConfig), ""
    except msgspec.MsgspecError as error:
        return None, f"a node.json that cannot be read: {error}"


def _disk(text: str) -> tuple[str, Disk] | None:
    words = text.split()
    if len(words) != 4 or not words[3].isdecimal():
        return None
    return words[0], Disk(words[1] == "yes", words[2], int(words[3]) * 1024)


def _number(text: str) -> int:
    """0 for what is none."""
    try:
        return int(text)
    except ValueError:
        return 0


def _version(text: str) -> str:
    words = text.split()
    last = words[-1] if words else ""
    return last if last.replace(".", "").isdecimal() else ""


def _first(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
