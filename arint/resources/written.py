"""One document: is it a resource as a user may write it? All its mistakes at once; a resource if there are none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

import msgspec

from arint.errors import NotValidError
from arint.plugins import Transport, step_types, transports
from arint.resources.canonical import LARGEST, canonical, from_plain
from arint.resources.checking import Mistake, mistakes, struct_mistakes
from arint.resources.inlining import inline_files
from arint.resources.kinds import KINDS, Channel, Connection, Flow, Resource, Secret, Service
from arint.resources.problems import Path, nearest

_PASSWORD = re.compile(r"\b[a-z][a-z0-9+.-]*://[^/?#\s'\"@:]*:[^/#\s'\"@]+@"
                       r"|\b[a-z][a-z0-9+.-]*://\S*[?&](password|passwd|pwd)=[^&\s]", re.IGNORECASE)


def resource_of(written: Any, folder: FilePath) -> tuple[Resource | None, list[Mistake]]:
    """The resource that a document declares, files inlined from `folder`; or None and all that is wrong with it."""
    if not isinstance(written, dict):
        return None, [Mistake((), "a resource is a mapping that begins with kind and name")]
    kind = written.get("kind")
    if kind is None:
        return None, [Mistake((), 'the key "kind" is missing', f"kinds are {', '.join(KINDS)}")]
    if kind not in KINDS:
        return None, [Mistake(("kind",), f"unknown kind {kind!r}", nearest(str(kind), KINDS))]
    written, found = _inlined(written, folder)
    found += _in_fields(written, KINDS[kind])
    found += _passwords(written)
    if found:
        return None, found
    return _built(written, folder)


def _built(written: dict[str, Any], folder: FilePath) -> tuple[Resource | None, list[Mistake]]:
    try:
        resource = from_plain(written)
    except NotValidError as error:
        return None, [Mistake((), error.what)]
    found = [*_meaning(resource, folder)]
    size = len(canonical(resource))
    if size > LARGEST:
        found.append(Mistake((), f"{size} bytes; a resource is at most {LARGEST}", "keep large data elsewhere"))
    return (None if found else resource), found


def _inlined(written: dict[str, Any], folder: FilePath) -> tuple[dict[str, Any], list[Mistake]]:
    """A flow with the content of its files in the place of their names."""
    if written["kind"] != "Flow" or not isinstance(written.get("steps"), list):
        return written, []
    found: list[Mistake] = []
    steps = inline_files(written["steps"], ("steps",), step_types(), folder, found)
    return {**written, "steps": steps}, found


def _in_fields(written: dict[str, Any], struct: type[msgspec.Struct]) -> list[Mistake]:
    fields = {key: value for key, value in written.items() if key != "kind"}
    if struct not in (Channel, Connection):
        return mistakes(fields, struct)
    role = struct.__name__.lower()
    usable = {name: transport for name, transport in transports().items() if getattr(transport, role)}
    found = struct_mistakes(fields, struct, also_known=usable, ignore=("transport", "spec"))
    return _transport_mistakes(fields, role, usable, found)


def _transport_mistakes(fields: Mapping[str, Any], role: str, usable: Mapping[str, Transport],
                        found: list[Mistake]) -> list[Mistake]:
    """Exactly one transport, with a spec that its plugin understands. `found`: what is wrong with the other keys."""
    used = [key for key in fields if key in usable]
    if not used:
        others = [mistake for mistake in found if mistake.on_key]
        meant = any(f'"{name}"' in mistake.suggestion for mistake in others for name in usable)
        if not meant:
            known = ", ".join(sorted(usable)) or "none is installed"
            found.append(Mistake((), "a transport key is missing", f"transports: {known}"))
    for extra in used[1:]:
        found.append(Mistake((extra,), f'only one transport is possible, and "{used[0]}" stands here already',
                             f"declare a second {role.capitalize()}", on_key=True))
    for key in used:
        found += mistakes(fields[key], getattr(usable[key], role), (key,))
    return found


def _meaning(resource: Resource, folder: FilePath) -> Iterator[Mistake]:
    """What types cannot say."""
    if isinstance(resource, Flow):
        from arint.flows import check_steps

        for problem in check_steps(resource.steps):
            yield Mistake(("steps", *problem.path), problem.message, problem.suggestion)
    elif isinstance(resource, Channel):
        if resource.to.partition("/")[0] not in ("flow", "service"):
            yield Mistake(("to",), "a channel leads to flow/NAME or service/NAME",
                          "send to a connection or a topic from a flow")
    elif isinstance(resource, Secret):
        yield from _secret_source(resource)
    elif isinstance(resource, Service) and not resource.code:
        file = resource.source.rpartition(":")[0]
        if not (folder / file).is_file():
            yield Mistake(("source",), f"there is no file {file} in {folder}", "the path is relative to the manifest")


def _secret_source(secret: Secret) -> Iterator[Mistake]:
    if secret.source is None:
        if not secret.digest:
            yield Mistake((), 'the key "from" is missing', "write from: {env: NAME} or from: {file: PATH}")
    elif bool(secret.source.env) == bool(secret.source.file):
        yield Mistake(("from",), "exactly one of env and file is needed")


def _passwords(written: dict[str, Any]) -> Iterator[Mistake]:
    """Passwords inside of URLs. The message does not repeat them."""
    for path, text in _texts(written, ()):
        if "://" in text and _PASSWORD.search(text):
            yield Mistake(path, "a URL must not hold a password", _right_way(written, path))


def _right_way(written: dict[str, Any], path: Path) -> str:
    transport = transports().get(str(path[0])) if written["kind"] == "Connection" else None
    keys = set(transport.connection.__struct_encode_fields__) if transport and transport.connection else set()
    declared = "and declare a Secret of that name"
    if "password" in keys:
        return f"leave it out of the URL, write `password: {{secret: NAME}}` beside it {declared}"
    if "auth" in keys:
        return f"write `auth: {{basic: {{user: USER, password: {{secret: NAME}}}}}}` beside it {declared}"
    return f"write {{secret: NAME}} where the password is asked for {declared}"


def _texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))
