"""Sealed secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arint.errors import DeniedError, NotFoundError, NotValidError
from arint.home import Home
from arint.security.sealing import Sealer, ring_file, rotate


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make_folders()
    return home


@given(name=st.text(), value=st.binary())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_what_is_sealed_opens_and_does_not_show(home: Home, name: str, value: bytes) -> None:
    sealer = Sealer.ensure(home)
    sealed = sealer.seal(name, value)
    assert sealer.unseal(name, sealed) == value
    assert Sealer.load(home).unseal(name, sealed) == value
    assert sealer.seal(name, value) != sealed
    assert len(value) < 4 or value not in sealed


@given(position=st.integers(0, 44), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_altered_bit_is_refused(home: Home, position: int, bit: int) -> None:
    sealer = Sealer.ensure(home)
    sealed = bytearray(sealer.seal("orders-key", b"twelve bytes"))
    assert len(sealed) == 45
    sealed[position] ^= 1 << bit
    with pytest.raises(DeniedError, match="orders-key"):
        sealer.unseal("orders-key", bytes(sealed))


def test_another_name_another_ring_and_short_ones_are_refused(home: Home, tmp_path: Path) -> None:
    sealer = Sealer.ensure(home)
    sealed = sealer.seal("a", b"value")
    other = Home(tmp_path / "other")
    other.make_folders()
    for opener, name, value in ((sealer, "b", sealed), (Sealer.ensure(other), "a", sealed),
                                *((sealer, "a", sealed[:n]) for n in range(len(sealed)))):
        with pytest.raises(DeniedError):
            opener.unseal(name, value)


def test_rotation_keeps_old_secrets_and_digests(home: Home) -> None:
    old = Sealer.ensure(home)
    sealed = old.seal("a", b"value")
    new = rotate(home)
    assert new.unseal("a", sealed) == b"value"
    assert new.keyed_digest(b"value") == old.keyed_digest(b"value")
    with pytest.raises(DeniedError):
        old.unseal("a", new.seal("a", b"value"))
    assert ring_file(home).stat().st_mode & 0o777 == 0o600


def test_digests_tell_values_apart_and_need_the_ring(home: Home, tmp_path: Path) -> None:
    sealer = Sealer.ensure(home)
    assert sealer.keyed_digest(b"a") == Sealer.load(home).keyed_digest(b"a")
    assert sealer.keyed_digest(b"a") != sealer.keyed_digest(b"b")
    other = Home(tmp_path / "other")
    other.make_folders()
    assert Sealer.ensure(other).keyed_digest(b"a") != sealer.keyed_digest(b"a")


def test_a_missing_ring_is_an_error_not_a_new_one(home: Home) -> None:
    with pytest.raises(NotFoundError, match="backup"):
        Sealer.load(home)


@pytest.mark.parametrize("content", ["", "short\n", "!!!!\n", "\x00"])
def test_a_damaged_ring_is_an_error(home: Home, content: str) -> None:
    ring_file(home).write_text(content)
    with pytest.raises(NotValidError, match="damaged"):
        Sealer.ensure(home)
