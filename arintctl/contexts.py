"""Contexts: which cluster arintctl speaks to, in `arint/config.yaml` of the XDG configuration folder.

A context is a home on this machine, or a user's way to a cluster from anywhere: addresses and a certificate, whose
files lie in `arint/contexts/<name>/`. All are 0600.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from arint.errors import ConflictError, NotFoundError, NotValidError, UsageError

if TYPE_CHECKING:
    from arint.administration.remote import Access

DEFAULT = "local"
FORMAT = 1
_FILES = ("ca", "certificate", "key")


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One cluster: the home folder that holds its certificates, or a user, and the addresses of servers."""

    home: str = ""
    cluster: str = ""
    user: str = ""
    servers: tuple[str, ...] = ()
    read_only: bool = False


class Contexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The file's content."""

    current: str = ""
    contexts: dict[str, Context] = {}


class ContextFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `user add` writes and `context add --file` takes: all that a user needs, the private key included."""

    format: int = FORMAT
    cluster: str
    user: str
    servers: tuple[str, ...]
    ca: str
    certificate: str
    key: str


def file() -> Path:
    """Where the contexts are kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "arint" / "config.yaml"


def pem(name: str, part: str) -> Path:
    """Where a context's `ca`, `certificate` or `key` is kept."""
    return file().parent / "contexts" / name / f"{part}.pem"


def load() -> Contexts:
    """The contexts; empty where there is no file. Raises NotValidError."""
    path = file()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Contexts()
    import yaml

    try:
        return msgspec.convert(yaml.safe_load(text) or {}, Contexts)
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise NotValidError(str(error), where=str(path), remedy="correct the file, or remove it") from None


def save(contexts: Contexts) -> None:
    """Write the file whole, or not at all."""
    import yaml

    from arint.home import write_private

    path = file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(path, yaml.safe_dump(msgspec.to_builtins(contexts), sort_keys=False).encode())


def record(home: Path, name: str = "") -> str:
    """Keep a home as a context and make it the current one; the context's name. An unchanged one writes nothing."""
    known = load()
    target = Context(str(home))
    found = next((key for key, context in known.contexts.items() if context == target), "")
    name = name or found or _free_name(home, known)
    wanted = Contexts(current=name, contexts={**known.contexts, name: target})
    if wanted != known:
        save(wanted)
    return name


def read_file(path: Path) -> ContextFile:
    """What `user add` wrote. Raises NotFoundError, NotValidError."""
    import yaml

    try:
        found = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), ContextFile)
    except OSError as error:
        raise NotFoundError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise NotValidError(f"this is no context file: {error}", where=str(path),
                            remedy="name the file that arintctl user add wrote") from None
    if found.format != FORMAT:
        raise NotValidError(f"its format is {found.format}, and this release reads {FORMAT}", where=str(path),
                            remedy="use an arintctl of the cluster's release")
    return found


def write_file(path: Path, content: ContextFile) -> None:
    """Write it, 0600: it holds a private key."""
    import yaml

    from arint.home import write_private

    write_private(path.absolute(), yaml.safe_dump(msgspec.to_builtins(content), sort_keys=False).encode())


def take_in(found: ContextFile, name: str, *, read_only: bool) -> str:
    """Keep a user's way to a cluster as the context `name`, and make it the current one."""
    from arint.home import write_private

    name = _as_name(name or found.cluster)
    known = load()
    there = known.contexts.get(name)
    if there is not None and (there.cluster, there.user) != (found.cluster, found.user):
        raise ConflictError(f"there is a context {name!r} already", where=str(file()),
                            remedy="give this one another name: arintctl context add NAME --file FILE")
    folder = pem(name, "ca").parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for part in _FILES:
        write_private(pem(name, part), str(getattr(found, part)).encode())
    context = Context(cluster=found.cluster, user=found.user, servers=found.servers, read_only=read_only)
    save(Contexts(current=name, contexts={**known.contexts, name: context}))
    return name


def remove(name: str) -> None:
    """Forget a context, its certificate and key with it; a home that it names stays as it is. Raises NotFoundError."""
    known = load()
    find(name, known)
    kept = {key: context for key, context in known.contexts.items() if key != name}
    save(Contexts(current="" if known.current == name else known.current, contexts=kept))
    shutil.rmtree(pem(name, "ca").parent, ignore_errors=True)


def rename(old: str, new: str) -> None:
    """Give a context another name. Raises NotFoundError, ConflictError, NotValidError."""
    known = load()
    find(old, known)
    new = _as_name(new)
    if new in known.contexts:
        raise ConflictError(f"there is a context {new!r} already", where=str(file()), remedy="remove it first")
    if pem(old, "ca").parent.is_dir():
        shutil.copytree(pem(old, "ca").parent, pem(new, "ca").parent, dirs_exist_ok=True)
    save(Contexts(current=new if known.current == old else known.current,
                  contexts={new if key == old else key: context for key, context in known.contexts.items()}))
    shutil.rmtree(pem(old, "ca").parent, ignore_errors=True)


def ports_of_others(home: Path) -> frozenset[int]:
    """The ports of the other homes that are known; one that cannot be read has none."""
    from arint.errors import ArintError
    from arint.home import Home

    ports: set[int] = set()
    for context in load().contexts.values():
        if context.home and context.home != str(home):
            try:
                ports |= set(msgspec.structs.astuple(Home(Path(context.home)).load().ports))
            except (ArintError, OSError):
                continue
    return frozenset(ports)


def forget(home: Path) -> None:
    """Remove the contexts of a home that is gone."""
    known = load()
    kept = {key: context for key, context in known.contexts.items() if context.home != str(home)}
    if len(kept) != len(known.contexts):
        save(Contexts(current=known.current if known.current in kept else next(iter(kept), ""), contexts=kept))


def select(name: str) -> Contexts:
    """Make a context the current one. Raises NotFoundError."""
    known = load()
    find(name, known)
    chosen = msgspec.structs.replace(known, current=name)
    save(chosen)
    return chosen


def find(name: str, known: Contexts) -> Context:
    """A context by its name. Raises NotFoundError."""
    if name not in known.contexts:
        raise NotFoundError(f"no context {name!r}", where=str(file()),
                            remedy=f"known: {', '.join(known.contexts) or 'none; arintctl up records one'}")
    return known.contexts[name]


def chosen(home: Path | None, context: str | None) -> tuple[str, Context] | None:
    """The context to speak to, by its name: --home, --context, $ARINT_CONTEXT, $ARINT_HOME, the current one.

    None for the default place. A home that is named has no name of a context.
    """
    if home is not None:
        return "", Context(str(home))
    named = context or os.environ.get("ARINT_CONTEXT")
    if named:
        return named, find(named, load())
    if os.environ.get("ARINT_HOME"):
        return "", Context(os.environ["ARINT_HOME"])
    known = load()
    return (known.current, known.contexts[known.current]) if known.current in known.contexts else None


def home_of(home: Path | None, context: str | None) -> Path | None:
    """The home to speak to; None for the default place. Raises UsageError where it is a cluster elsewhere."""
    found = chosen(home, context)
    if found is None:
        return None
    name, one = found
    if not one.home:
        raise UsageError("this is done on a node's own home, not over a context", where=f"context {name}",
                         remedy="run it on that machine, or name a home here: --home")
    return Path(one.home)


def access_of(home: Path | None, context: str | None) -> Access | None:
    """How to reach a cluster elsewhere; None where a home is spoken to."""
    found = chosen(home, context)
    if found is None or found[1].home:
        return None
    from arint.administration.remote import Access

    name, one = found
    return Access(cluster=one.cluster, user=one.user, servers=one.servers, read_only=one.read_only,
                  **{part: str(pem(name, part)) for part in _FILES})


def _as_name(name: str) -> str:
    """A context's name is a folder's too. Raises NotValidError."""
    if not name or name.startswith(".") or "/" in name or not name.isprintable():
        raise NotValidError(f"{name!r} is no name for a context", remedy="such as staging")
    return name


def _free_name(home: Path, known: Contexts) -> str:
    """`local` for the first, then the folder's own name, numbered where that is taken."""
    wish = DEFAULT if not known.contexts else home.name.lstrip(".") or DEFAULT
    number, name = 2, wish
    while name in known.contexts:
        name, number = f"{wish}-{number}", number + 1
    return name
