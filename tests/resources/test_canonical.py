"""Stored and exported forms give back the same resource; a change of meaning changes the stored form."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arint.errors import NotValidError
from arint.resources.canonical import canonical, from_canonical, from_plain, plain, to_yaml
from arint.resources.documents import read
from arint.resources.kinds import Channel, Secret, SecretSource
from tests.resources.strategies import resources

thorough = settings(max_examples=150, suppress_health_check=list(HealthCheck))


@thorough
@given(resources)
def test_stored_then_loaded_is_the_same(resource: object) -> None:
    data = canonical(resource)
    assert from_canonical(data) == resource
    assert canonical(from_canonical(data)) == data


@thorough
@given(st.lists(resources, max_size=3))
def test_exported_then_applied_is_the_same(declared: list[object]) -> None:
    again = [from_plain(node.value()) for node in read(to_yaml(declared))]
    assert again == declared
    assert [canonical(resource) for resource in again] == [canonical(resource) for resource in declared]


def test_kind_and_name_come_first_then_the_transport() -> None:
    channel = Channel(name="in", to="flow/x", transport="http", spec={"path": "/x"}, idempotency_for="1h")
    assert list(plain(channel)) == ["kind", "name", "http", "to", "idempotency_for"]
    assert to_yaml([channel]).splitlines()[:3] == ["kind: Channel", "name: in", "http:"]


def test_a_secret_is_written_with_from() -> None:
    assert plain(Secret(name="key", source=SecretSource(env="KEY"))) == {
        "kind": "Secret", "name": "key", "from": {"env": "KEY"}}


def test_several_lines_stand_as_a_block() -> None:
    channel = Channel(name="in", to="flow/x", transport="http", spec={"text": "one\ntwo\n"})
    assert "text: |\n    one\n    two\n" in to_yaml([channel])


@pytest.mark.parametrize("data", [
    b"", b"[]", b"{", b'{"kind":"Nope","name":"x"}', b'{"kind":"Channel","name":"x","to":"flow/x"}',
    b'{"kind":"Channel","name":"x","to":"flow/x","http":{},"sql":{}}', b'{"kind":"Service","name":"x"}', b"[" * 100_000,
])
def test_what_is_no_resource_is_not_valid(data: bytes) -> None:
    with pytest.raises(NotValidError):
        from_canonical(data)


def test_numbers_keep_their_type() -> None:
    channel = Channel(name="in", to="flow/x", transport="http", spec={"a": 1, "b": 1.0, "c": True, "d": "1"})
    again = from_canonical(canonical(channel))
    assert [type(value) for value in again.spec.values()] == [int, float, bool, str]
    assert msgspec.json.decode(canonical(channel))["http"] == channel.spec
