"""What `arintctl channel` tells of HTTP channels, and how it tries one."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from arint.errors import UsageError
from arint.plugins import ChannelBinding, Sample
from plugins.http.openapi import document
from plugins.http.operations import addresses
from plugins.http.paths import segments_of
from plugins.http.specs import HttpChannel


class HttpGuide:
    """See `arint.plugins.Guide`."""

    def openapi(self, channels: Sequence[ChannelBinding], *, server: str, version: str) -> dict[str, Any]:
        """The document of these channels."""
        return document(channels, server=server, version=version)

    def sample(self, channel: ChannelBinding, *, server: str, method: str = "", query: str = "",
               parameters: dict[str, str] | None = None, secret: Callable[[str], bytes]) -> Sample:
        """The request with the right method, address and credentials.

        Raises UsageError for a method that the channel does not take, or a path parameter that is missing.
        """
        known = parameters if parameters is not None else {}  # an empty one may know them all
        spec: HttpChannel = _chosen(channel, method.upper(), known).spec
        wanted = method.upper() or spec.methods[0]
        if wanted not in spec.methods:
            raise UsageError(f"channel {channel.name} does not take {wanted}", remedy=f"it takes "
                             f"{', '.join(spec.methods)}")
        headers, masked = _credentials(spec, secret)
        path = _path(channel.name, spec.path, known)
        return Sample(method=wanted, url=server.rstrip("/") + path
                      + (f"?{query.removeprefix('?')}" if query else ""), headers=headers, masked=masked)


def _chosen(channel: ChannelBinding, method: str, parameters: dict[str, str]) -> ChannelBinding:
    """Of a data API's addresses, the one with this method and these path parameters; else the first."""
    found = list(addresses([channel]))
    fitting = [one for one in found if not method or method in one.spec.methods]
    exact = [one for one in fitting if set(segments_of(one.spec.path)[1]) == set(parameters)]
    return (exact or fitting or found)[0]


def _path(channel: str, path: str, parameters: dict[str, str]) -> str:
    segments, names = segments_of(path)
    for name in names:
        if name not in parameters:
            raise UsageError(f"the path of channel {channel} has the parameter {name}",
                             remedy=f"add --param {name}=VALUE")
    values = iter(names)
    return "".join("/" + (quote(parameters[next(values)], safe="") if segment is None else _literal(segment))
                   for segment in segments)


def _literal(segment: str) -> str:
    return quote(segment, safe="%:@!$&'()*+,;=~-._")


def _credentials(spec: HttpChannel, secret: Callable[[str], bytes]) -> tuple[dict[str, str], dict[str, str]]:
    """The header that shows who asks, and how it may be printed."""
    auth = spec.auth
    if auth is None:
        return {}, {}
    shown = auth.keys[0].key if auth.keys else auth.api_key
    if shown is not None:
        key = secret(shown.secret).rstrip(b"\r\n").decode("latin-1")
        return {auth.header: key}, {auth.header: f"(secret {shown.secret})"}
    assert auth.basic is not None
    password = secret(auth.basic.password.secret).rstrip(b"\r\n")
    coded = b64encode(auth.basic.user.encode() + b":" + password).decode()
    return ({"Authorization": f"Basic {coded}"},
            {"Authorization": f"Basic (user {auth.basic.user}, secret {auth.basic.password.secret})"})
