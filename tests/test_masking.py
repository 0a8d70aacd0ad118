"""What is shown of a message holds no secrets: by name and by declared path; what is stored is not touched."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.masking import MASK, Masks, looks_secret


@pytest.mark.parametrize("name", ["Authorization", "proxy-authorization", "password", "userPassword", "passwd", "token",
                                  "access_token", "api_key", "X-Api-Key", "apikey", "client_secret", "Cookie",
                                  "set-cookie", "private-key", "cvv"])
def test_names_that_look_secret(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["id", "total", "author", "passenger", "tokenized_at", "keys", "compass", "pinned",
                                  "idempotency-key", "monkey"])
def test_names_that_do_not(name: str) -> None:
    assert not looks_secret(name)


def test_by_name_and_by_path() -> None:
    masks = Masks(["body.card.number", "body.lines.iban", "headers.x-key", "vars.pin"])
    body = {"id": 1, "card": {"number": "4111", "kind": "visa"}, "lines": [{"iban": "RO1"}, {"iban": "RO2", "n": 1}],
            "login": {"password": "p", "user": "u"}}
    assert masks.value(body) == {
        "id": 1, "card": {"number": MASK, "kind": "visa"}, "lines": [{"iban": MASK}, {"iban": MASK, "n": 1}],
        "login": {"password": MASK, "user": "u"}}
    assert masks.headers({"X-Key": "1", "x-other": "2", "authorization": "3"}) == {
        "X-Key": MASK, "x-other": "2", "authorization": MASK}
    assert masks.variables({"pin": 1, "n": 2}) == {"pin": MASK, "n": 2}


def test_a_body_without_secrets_is_shown_byte_for_byte() -> None:
    body = b'{ "id" :1.0,\n "b": [ ] }'
    assert Masks().body(body, "application/json") is body


@pytest.mark.parametrize(("body", "content_type", "shown"), [
    (b'{"password":"p","n":1}', "application/json", b'{"password":"***","n":1}'),
    (b'{"password": "p", "half', "application/json", b'{"password": "***", "half'),
    (b'{"a":1}\n{"token":"t"}\n', "application/x-ndjson", b'{"a":1}\n{"token":"***"}\n'),
    (b"user=u&password=p%20q&n=1", "application/x-www-form-urlencoded", b"user=u&password=***&n=1"),
    (b"<a><password>p</password><n>1</n></a>", "application/xml", b"<a><password>***</password><n>1</n></a>"),
    (b"\xff\xfe", "application/octet-stream", b"\xff\xfe"),
])
def test_forms_of_bodies(body: bytes, content_type: str, shown: bytes) -> None:
    assert Masks().body(body, content_type) == shown


def test_a_cut_body_is_searched_for_the_names_of_declared_paths() -> None:
    cut = b'{"card": {"number": "4111 1111", "kind": "visa"}, "lines": [{"a": 1'
    assert Masks(["body.card.number"]).body(cut, "application/json", whole=False) == (
        b'{"card": {"number": "***", "kind": "visa"}, "lines": [{"a": 1')
    assert Masks(["body"]).body(cut, "application/json", whole=False) == b"***"
    assert Masks(["body.x"]).body(b"\xff\xfe\x00\x01\x02\x03", "application/octet-stream") == b"***"


@given(st.recursive(st.none() | st.integers(-9, 9) | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["password", "card", "number", "id"]), inner, max_size=3), max_leaves=15),
       st.text("abcdef", min_size=12, max_size=12))
def test_no_secret_comes_through_wherever_it_stands(around: object, secret: str) -> None:
    body = {"around": around, "password": secret, "list": [{"card": {"number": [secret, {"x": secret}]}}]}
    shown = Masks(["body.list.card.number"]).body(msgspec.json.encode(body), "application/json")
    assert secret.encode() not in shown
