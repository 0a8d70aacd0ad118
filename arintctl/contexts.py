"""Contexts: which cluster arintctl speaks to, in `arint/config.yaml` of the XDG configuration folder."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from arint.errors import NotFoundError, NotValidError

DEFAULT = "default"


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One cluster: the home folder that holds its certificates."""

    home: str


class Contexts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The file's content."""

    current: str = ""
    contexts: dict[str, Context] = {}


def file() -> Path:
    """Where the contexts are kept."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "arint" / "config.yaml"


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

    path = file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(yaml.safe_dump(msgspec.to_builtins(contexts), sort_keys=False), encoding="utf-8")
    fresh.replace(path)


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


def ports_of_others(home: Path) -> frozenset[int]:
    """The ports of the other homes that are known; one that cannot be read has none."""
    from arint.errors import ArintError
    from arint.home import Home

    ports: set[int] = set()
    for context in load().contexts.values():
        if context.home != str(home):
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


def home_of(home: Path | None, context: str | None) -> Path | None:
    """The home to speak to: --home, --context, $ARINT_HOME, the current context; None for the default place."""
    if home is not None:
        return home
    if context:
        return Path(find(context, load()).home)
    if os.environ.get("ARINT_HOME"):
        return Path(os.environ["ARINT_HOME"])
    known = load()
    return Path(known.contexts[known.current].home) if known.current in known.contexts else None


def _free_name(home: Path, known: Contexts) -> str:
    """`default` for the first, then the folder's own name, numbered where that is taken."""
    wish = DEFAULT if not known.contexts else home.name.lstrip(".") or DEFAULT
    number, name = 2, wish
    while name in known.contexts:
        name, number = f"{wish}-{number}", number + 1
    return name
