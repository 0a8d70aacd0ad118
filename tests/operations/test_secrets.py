"""Secrets: set, listed and sealed anew; what nothing needs goes, values and keys; nothing is ever shown."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from arint.errors import ConflictError, DeniedError, NotFoundError, NotValidError
from arint.operations.configuration import ApplyArguments, apply
from arint.operations.connect import Link
from arint.operations.history import applied
from arint.operations.inventory import describe, export, get
from arint.operations.secrets import collect, describe_secret, list_secrets, rotate_secrets, set_secret
from arint.resources.kinds import Secret
from arint.security.sealing import Sealer, ring_file, rotate

VALUE = b"hunter2-secret-value"


@pytest.fixture(autouse=True)
async def nothing_applied(link: Link) -> None:
    await (await link.etcd()).delete_prefix("/arint/")


async def _value(link: Link, name: str) -> bytes:
    _, resources = await applied(link)
    secret = resources[f"Secret/{name}"]
    assert isinstance(secret, Secret)
    return Sealer.load(link.home).unseal(name, await (await link.secrets()).get(name, secret.digest))


async def test_a_secret_is_set_and_told_of_without_its_value(link: Link) -> None:
    done = await set_secret(link, "crm", VALUE, author="ann", wait=False)
    assert [change.action for change in done.changes] == ["added"]
    assert await _value(link, "crm") == VALUE
    [told] = await list_secrets(link)
    assert (told.name, told.by, told.kept, told.key) == ("crm", "ann", 1, Sealer.load(link.home).newest)
    assert told.set > 0
    shown = msgspec.json.encode([await get(link, ()), await describe(link, "secret/crm"), told, done])
    assert VALUE not in shown + (await export(link)).encode()
    assert (await describe(link, "secret/crm")).resource.status["by"] == "ann"


async def test_the_same_value_again_changes_nothing_and_another_does(link: Link) -> None:
    first = await set_secret(link, "crm", VALUE, wait=False)
    assert (await set_secret(link, "crm", VALUE, wait=False)).change_set == first.change_set
    assert (await set_secret(link, "crm", b"other", wait=False)).change_set == first.change_set + 1
    assert (await describe_secret(link, "crm")).kept == 2
    assert await _value(link, "crm") == b"other"


@pytest.mark.parametrize(("name", "value"), [("Not_A_Name", b"x"), ("a/b", b"x"), ("a", b""), ("a", b"x" * 70_000)])
async def test_what_cannot_be_set_is_refused(link: Link, name: str, value: bytes) -> None:
    with pytest.raises(NotValidError) as raised:
        await set_secret(link, name, value, wait=False)
    assert "xxxx" not in str(raised.value)
    with pytest.raises(NotFoundError):
        await describe_secret(link, name)


async def test_a_manifest_without_a_source_keeps_what_was_set(link: Link, tmp_path: Path) -> None:
    await set_secret(link, "crm", VALUE, wait=False)
    (tmp_path / "s.yaml").write_text("kind: Secret\nname: crm\ndescription: the CRM's\n")
    await apply(link, ApplyArguments(paths=(tmp_path / "s.yaml",), wait=False))
    assert await _value(link, "crm") == VALUE
    assert (await describe_secret(link, "crm")).description == "the CRM's"


async def test_a_rotation_seals_all_anew_and_destroys_the_old_key(link: Link) -> None:
    for name in ("a", "b"):
        await set_secret(link, name, VALUE + name.encode(), wait=False)
    before = ring_file(link.home).read_bytes()
    old = Sealer.load(link.home)
    sealed = await (await link.secrets()).get("a", old.keyed_digest(VALUE + b"a"))
    done = await rotate_secrets(link)
    assert (done.sealed, done.destroyed) == (2, 1)
    assert await _value(link, "a") == VALUE + b"a"
    assert before.splitlines()[0] not in ring_file(link.home).read_bytes()
    new = Sealer.load(link.home)
    assert new.keyed_digest(VALUE) == old.keyed_digest(VALUE)
    with pytest.raises(DeniedError):
        new.unseal("a", sealed)
    assert not (await set_secret(link, "a", VALUE + b"a", wait=False)).changes


async def test_a_rotation_that_was_cut_short_is_finished_by_the_next(link: Link) -> None:
    await set_secret(link, "a", VALUE, wait=False)
    kept = await link.secrets()
    await kept.announce(rotate(link.home).newest)  # and then it died: nothing was sealed anew
    assert await _value(link, "a") == VALUE
    assert (await rotate_secrets(link)).destroyed == 2


async def test_who_read_the_ring_before_a_rotation_seals_nothing_after_it(link: Link) -> None:
    await set_secret(link, "a", VALUE, wait=False)
    late = Sealer.load(link.home)
    await rotate_secrets(link)
    with pytest.raises(ConflictError, match="rotated"):
        await (await link.secrets()).put("b", "d", late.seal("b", VALUE), key=late.newest)
    await set_secret(link, "b", VALUE, wait=False)
    assert await _value(link, "b") == VALUE


async def test_values_that_no_kept_set_names_are_forgotten(link: Link) -> None:
    await set_secret(link, "a", VALUE, wait=False)
    kept = await link.secrets()
    await kept.put("a", "nobodys", b"sealed")
    assert await collect(link) == 0  # it may belong to a commit that is under way
    await set_secret(link, "b", VALUE, wait=False)
    assert await kept.digests("a") == [Sealer.load(link.home).keyed_digest(VALUE)]
    assert await _value(link, "a") == VALUE


async def test_a_value_that_no_key_opens_is_told_and_no_key_is_destroyed(link: Link) -> None:
    await set_secret(link, "a", VALUE, wait=False)
    ring = ring_file(link.home)
    ring.rename(ring.with_name("away"))
    Sealer.ensure(link.home)
    with pytest.raises(DeniedError, match="secret/a"):
        await rotate_secrets(link)
    assert len([line for line in ring.read_text().splitlines() if not line.startswith("digest")]) == 2
