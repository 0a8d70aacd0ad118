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
from arint.resources.kinds import KINDS, Channel, Connection, Resource, Service
from arint.resources.problems import Path, nearest
from arint.resources.requirements import lines_of, mistakes_in, wrong_with
from arint.resources.services import service_mistakes

_PASSWORD = re.compile(r"://[^/?#\s'\"@:]{0,500}:[^/#\s'\"@]{1,500}@"
                       r"|://\S{0,2000}?[?&](password|passwd|pwd)=[^&\s]", re.IGNORECASE)


class Document(msgspec.Struct, frozen=True):
    """What came of one document: its data with files inlined, the resource unless there are mistakes, the mistakes."""

    written: dict[str, Any]
    resource: Resource | None
    mistakes: tuple[Mistake, ...]


def document_of(written: Any, folder: FilePath) -> Document:
    """What a document declares, and all that is wrong with it; file names are relative to `folder`."""
    if not isinstance(written, dict):
        return Document({}, None, (Mistake((), "a resource is a mapping that begins with kind and name"),))
    kind = written.get("kind")
    if kind is None:
        return Document({}, None, (Mistake((), 'the key "kind" is missing', f"kinds are {', '.join(KINDS)}"),))
    if not isinstance(kind, str) or kind not in KINDS:
        return Document({}, None, (Mistake(("kind",), f"unknown kind {kind!r}", nearest(str(kind), KINDS)),))
    written, unread = _inlined(written, folder)
    found = [*unread, *_in_fields(written, KINDS[kind])]
    found += (mistake for mistake in _meaning(written, folder) if not _follows(mistake, unread))
    found += _passwords(written)
    resource, further = (None, []) if found else _built(written)
    return Document(written, resource, (*found, *further))


def _follows(mistake: Mistake, unread: list[Mistake]) -> bool:
    """Is this only what a file that could not be read has left behind?"""
    return any(path[:len(mistake.path)] == mistake.path[:len(path)] for path in (earlier.path for earlier in unread))


def _built(written: dict[str, Any]) -> tuple[Resource | None, list[Mistake]]:
    try:
        resource = from_plain(written)
    except NotValidError as error:
        return None, [Mistake((), error.what)]
    size = len(canonical(resource))
    if size > LARGEST:
        return None, [Mistake((), f"{size} bytes; a resource is at most {LARGEST}", "keep large data elsewhere")]
    return resource, []


def _inlined(written: dict[str, Any], folder: FilePath) -> tuple[dict[str, Any], list[Mistake]]:
    """A flow or a service with the content of its files in the place of their names."""
    if written["kind"] == "Service" and isinstance(written.get("requirements"), str):
        return _requirements_inlined(written, folder)
    if written["kind"] != "Flow" or not isinstance(written.get("steps"), list):
        return written, []
    found: list[Mistake] = []
    steps = inline_files(written["steps"], ("steps",), step_types(), folder, found)
    return {**written, "steps": steps}, found


def _requirements_inlined(written: dict[str, Any], folder: FilePath) -> tuple[dict[str, Any], list[Mistake]]:
    """A service with the lines of its requirements.txt; a mistake in one of them is told by its line there."""
    name, path = written["requirements"], ("requirements",)
    file = folder / name
    try:
        if file.stat().st_size > LARGEST:
            return written, [Mistake(path, f"{name} is larger than {LARGEST} bytes")]
        lines = list(lines_of(file.read_text("utf-8-sig")))
    except (OSError, ValueError) as error:
        what = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else "is not UTF-8"
        return written, [Mistake(path, f"{name} {what}",
                                 "write a list, such as [babel, httpx>=0.28], or a file relative to the manifest")]
    found = [Mistake(path, f"{name}:{number}: {told[0]}", told[1]) for number, line in lines
             if (told := wrong_with(line))]
    return {**written, "requirements": [line for _, line in lines]}, found


def _in_fields(written: dict[str, Any], struct: type[msgspec.Struct]) -> list[Mistake]:
    fields = {key: value for key, value in written.items() if key != "kind"}
    if struct is Service:
        return struct_mistakes(fields, struct)  # what it refuses as a whole: `service_mistakes`, with its place
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
    misplaced = [key for key in fields if key in transports() and key not in usable]
    found = [mistake for mistake in found if mistake.path not in [(key,) for key in misplaced]]
    found += [Mistake((key,), f"the transport {key} has no {role}s", on_key=True) for key in misplaced]
    meant = any(f'"{name}"' in mistake.suggestion for mistake in found if mistake.on_key for name in usable)
    if not used and not misplaced and not meant:
        known = ", ".join(sorted(usable)) or "none is installed"
        found.append(Mistake((), "a transport key is missing", f"transports: {known}"))
    for extra in used[1:]:
        found.append(Mistake((extra,), f'only one transport is possible, and "{used[0]}" stands here already',
                             f"declare a second {role.capitalize()}", on_key=True))
    for key in used:
        found += mistakes(fields[key], getattr(usable[key], role), (key,))
    return found


def _meaning(written: dict[str, Any], folder: FilePath) -> Iterator[Mistake]:
    """What types cannot say; of fields whose type is right."""
    kind = written["kind"]
    if kind == "Flow":
        yield from _order(written.get("order_by"))
        yield from _steps(written.get("steps"))
    elif kind == "Channel":
        yield from _target(written)
        used = next((one for name, one in transports().items() if name in written), None)
        if written.get("delivery") == "immediate" and used is not None and not used.immediate:
            yield Mistake(("delivery",), f"{used.name} channels cannot give an answer", "guaranteed")
    elif kind == "Secret":
        yield from _secret_source(written)
    elif kind == "Service":
        if isinstance(written.get("requirements"), list):
            yield from mistakes_in(written["requirements"], ("requirements",))
        yield from service_mistakes(written, folder)


def _order(order_by: Any) -> Iterator[Mistake]:
    from arint.flows.expressions import expression
    from arint.flows.step import StepError

    if isinstance(order_by, str) and order_by:
        try:
            expression(order_by)
        except StepError as error:
            yield Mistake(("order_by",), error.message, error.suggestion)


def _target(written: dict[str, Any]) -> Iterator[Mistake]:
    kind, queries = str(written.get("to")).partition("/")[0], written.get("queries")
    if kind == "topic" or (kind == "connection" and not queries):
        yield Mistake(("to",), "a channel leads to flow/NAME or service/NAME",
                      "send to a connection or a topic from a flow; or publish a database's queries")
    elif queries and kind != "connection":
        yield Mistake(("queries",), f"a {kind} has no queries", "they belong to a channel to connection/NAME")
    elif queries and written.get("delivery") != "immediate":
        yield Mistake(("delivery",) if "delivery" in written else (), "queries are answered at once",
                      "delivery: immediate")


def _steps(steps: Any) -> Iterator[Mistake]:
    from arint.flows import check_steps

    if isinstance(steps, list) and all(isinstance(step, dict) for step in steps):
        for problem in check_steps(steps):
            yield Mistake(("steps", *problem.path), problem.message, problem.suggestion)


def _secret_source(written: dict[str, Any]) -> Iterator[Mistake]:
    source = written.get("from")
    if isinstance(source, dict) and bool(source.get("env")) == bool(source.get("file")):
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
