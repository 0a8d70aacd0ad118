"""Where a callback may go: the addresses that a step allows, and those that nobody but a step may name.

The address comes from the sender, who could name what only this machine reaches (server-side request forgery, OWASP
A10): the metadata service of a cloud, an administration port on the loopback interface. Everything here is pure.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

_PATTERN = re.compile(r"(https?)://(\*\.)?([^/:*?#@\s\[\]]+|\[[0-9A-Fa-f:.]+\])(?::(\*|\d{1,5}))?(/[^?#\s]*)?")
_PORTS = {"http": 80, "https": 443}
_METADATA = frozenset(map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200",
                                                 "168.63.129.16", "fd20:ce::254")))
"""The metadata services of clouds; some have addresses that are not link-local."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Pattern(NamedTuple):
    """`https://*.partner.example:*/hooks/*`: scheme, host (`*.` before it: what is below), port (0: any), path."""

    scheme: str
    host: str
    below: bool
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Raises ValueError for what is none."""
        found = _PATTERN.fullmatch(text)
        if found is None:
            raise ValueError("write it as https://partner.example/hooks/* or http://127.0.0.1:*/*")
        scheme, below, host, port, path = found.groups()
        return cls(scheme, host.strip("[]").lower(), bool(below), 0 if port == "*" else int(port or _PORTS[scheme]),
                   path or "/*")

    def fits(self, url: SplitResult) -> bool:
        """Is this address allowed by it?"""
        host = (url.hostname or "").lower().rstrip(".")
        is_host = host.endswith(f".{self.host}") if self.below else host == self.host
        return (url.scheme == self.scheme and is_host and self.port in (0, port_of(url))
                and ".." not in url.path.split("/") and fnmatch.fnmatchcase(url.path or "/", self.path))


def parse_url(url: str) -> SplitResult | None:
    """The parts of an http or https address; None for what is none, or holds a user or password."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if known and "@" not in parts.netloc else None


def port_of(url: SplitResult) -> int:
    """The port, said or meant."""
    return url.port or _PORTS[url.scheme]


def may_be_called(address: str) -> bool:
    """May a sender have this IP address called? Not what is this machine's own, nor link-local, nor no host's."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        translated = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
        inner = ip.ipv4_mapped or ip.sixtofour or translated
        if inner is not None:
            return may_be_called(str(inner))
    return not (ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast or ip.is_reserved
                or ip in _METADATA)
