"""Which addresses a callback may have: what a sender names, and what a flow allows."""

from __future__ import annotations

import pytest

from arint.flows.addresses import Pattern, may_be_called, parse_url


@pytest.mark.parametrize("address", [
    "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "169.254.169.254", "169.254.1.1", "fe80::1%eth0", "fe80::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "224.0.0.1", "255.255.255.255",
    "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1", "240.0.0.1"])
def test_addresses_that_no_sender_may_name(address: str) -> None:
    assert not may_be_called(address)


@pytest.mark.parametrize("address", ["10.0.0.7", "192.168.1.2", "8.8.8.8", "2001:4860:4860::8888", "fd12:3456::1"])
def test_addresses_of_other_machines(address: str) -> None:
    assert may_be_called(address)


@pytest.mark.parametrize(("pattern", "url", "fits"), [
    ("https://partner.example/hooks/*", "https://partner.example/hooks/a/b?x=1", True),
    ("https://partner.example/hooks/*", "https://PARTNER.example./hooks/a", True),
    ("https://partner.example/hooks/*", "https://partner.example/other", False),
    ("https://partner.example/hooks/*", "https://partner.example/hooks/../other", False),
    ("https://partner.example/hooks/*", "http://partner.example/hooks/a", False),
    ("https://partner.example/hooks/*", "https://partner.example:8443/hooks/a", False),
    ("https://partner.example", "https://partner.example.evil.example/", False),
    ("https://*.partner.example", "https://a.b.partner.example/x", True),
    ("https://*.partner.example", "https://partner.example/x", False),
    ("https://*.partner.example", "https://evilpartner.example/x", False),
    ("http://127.0.0.1:*", "http://127.0.0.1:9/x", True),
    ("http://[::1]:8080/*", "http://[::1]:8080/x", True),
    ("http://127.0.0.1:*", "http://127.0.0.2:9/x", False),
])
def test_patterns(pattern: str, url: str, fits: bool) -> None:
    parts = parse_url(url)
    assert parts is not None
    assert Pattern.parse(pattern).fits(parts) == fits


@pytest.mark.parametrize("pattern", ["*", "https://*", "ftp://a/", "partner.example", "https://a:b@c/", "https://a*b/"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="write it as"):
        Pattern.parse(pattern)


@pytest.mark.parametrize("url", ["ftp://a", "http://", "http://u:p@a/", "http://a:99999/", "http://[::1/",
                                 "javascript:1", "http://partner.example@127.0.0.1/"])
def test_what_is_no_address(url: str) -> None:
    assert parse_url(url) is None
