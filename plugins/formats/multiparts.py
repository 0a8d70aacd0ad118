"""`multipart/form-data` (RFC 7578) within limits. Nothing is unpacked: an archive stays the bytes that came."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO

from arint.errors import RejectedError
from arint.flows.json_text import write_json
from arint.plugins import Written
from plugins.formats.forms import gathered, whole
from plugins.formats.specs import Multipart
from plugins.formats.texts import encoded

if TYPE_CHECKING:
    from multipart import MultipartSegment

_PLAIN = frozenset({"", "7bit", "8bit", "binary"})


class MultipartFormat:
    """An object of fields and files."""

    def __init__(self, options: Multipart) -> None:
        self._options = options

    def parse(self, body: bytes, content_type: str = "") -> Any:
        """The object."""
        import multipart

        boundary = _boundary(body, content_type)
        pairs: list[tuple[str, Any]] = []
        pieces: list[bytes] = []
        head: MultipartSegment | None = None
        try:
            with multipart.PushMultipartParser(boundary, len(body), strict=True,
                                               max_segment_count=self._options.parts) as parser:
                for event in (*parser.parse(body), *parser.parse(b"")):
                    if isinstance(event, multipart.MultipartSegment):
                        head = event
                    elif event:
                        pieces.append(bytes(event))
                    elif head is not None:
                        pairs.append((head.name, self._part(head, b"".join(pieces))))
                        pieces.clear()
        except multipart.MultipartError as error:
            raise RejectedError(f"the body is not multipart/form-data: {error}") from None
        return gathered(pairs)

    def write(self, value: Any) -> Written:
        """An object as `parse` gives it. The boundary is made of the content, so it is the same each time."""
        if not isinstance(value, dict):
            raise RejectedError("only an object can be written as multipart/form-data")
        parts = [self._written(name, item) for name, items in value.items()
                 for item in (items if isinstance(items, list) else [items])]
        boundary = sha256(b"\0".join(parts)).hexdigest()[:32].encode()
        while any(boundary in part for part in parts):
            boundary = sha256(boundary).hexdigest()[:32].encode()
        body = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary
        return Written(body, f"multipart/form-data; boundary={boundary.decode()}")

    def records(self, stream: BinaryIO) -> Iterator[Any]:
        """A form is one record; its boundary is taken from its first line."""
        yield self.parse(whole(stream))

    def _part(self, head: MultipartSegment, content: bytes) -> Any:
        for name in ("content-encoding", "content-transfer-encoding"):
            if head.header(name, "").strip().lower() not in _PLAIN | {"identity"}:
                raise RejectedError(f"the part {_shown(head.name)} is encoded ({name}); nothing is unpacked here",
                                    remedy="the sender must send it as it is")
        if head.filename is None:
            try:
                return content.decode(head.charset or self._options.encoding)
            except (UnicodeDecodeError, LookupError):
                raise RejectedError(f"the field {_shown(head.name)} is not text in "
                                    f"{_shown(head.charset or self._options.encoding)}") from None
        kind = head.content_type or "application/octet-stream"
        return {"filename": head.filename, "content_type": kind, "content": _content(content, kind)}

    def _written(self, name: str, item: Any) -> bytes:
        disposition = f'form-data; name="{_quoted(name)}"'
        if not isinstance(item, dict):
            text = item if isinstance(item, str) else "" if item is None else write_json(item).decode()
            return f"Content-Disposition: {disposition}\r\n\r\n".encode() + encoded(text, self._options.encoding)
        filename, kind = item.get("filename", "file"), item.get("content_type", "application/octet-stream")
        if not isinstance(filename, str) or not isinstance(kind, str) or any(sign < " " for sign in kind):
            raise RejectedError(f"the part {_shown(name)} is no file: filename and content_type are one line of text")
        head = f'Content-Disposition: {disposition}; filename="{_quoted(filename)}"\r\nContent-Type: {kind}\r\n\r\n'
        return head.encode() + _bytes_of(item.get("content", ""), name)


def _content(content: bytes, kind: str) -> Any:
    """Text where it is said to be, and is; otherwise base 64."""
    if kind.partition(";")[0].strip().startswith("text/") or "json" in kind or "xml" in kind:
        try:
            return content.decode()
        except UnicodeDecodeError:
            pass
    return {"base64": b64encode(content).decode()}


def _bytes_of(content: Any, name: str) -> bytes:
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, dict) and isinstance(content.get("base64"), str):
        try:
            return b64decode(content["base64"], validate=True)
        except ValueError:
            pass
    raise RejectedError(f"the content of the part {_shown(name)} is neither text nor {{base64: …}}")


def _boundary(body: bytes, content_type: str) -> str:
    import multipart

    kind, options = multipart.parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if not boundary and not kind.startswith("multipart/") and body.startswith(b"--"):
        boundary = body[2:202].partition(b"\r\n")[0].decode("latin-1")
    if not 0 < len(boundary) <= 200:
        raise RejectedError("the content type names no boundary", remedy="multipart/form-data; boundary=…")
    return str(boundary)


def _quoted(text: str) -> str:
    """As browsers write names (the HTML standard)."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _shown(text: str) -> str:
    return ascii(text[:60])
