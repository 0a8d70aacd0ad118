"""What streams may hold is told before they are made: by a plan, against the broker's own store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arint.bus import streams
from arint.bus.subjects import stream_of
from arint.errors import ArintError
from arint.home import Home
from arint.operations.configuration import ApplyArguments, plan
from arint.operations.connect import Link
from arint.operations.room import set_aside_for, shortage
from arint.resources.kinds import Flow, Service, key_of

sizes = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 100))


@given(needed=sizes, standing=sizes, limit=st.integers(0, 300))
def test_refused_is_what_grows_beyond_the_store_and_nothing_else(needed: dict[str, int], standing: dict[str, int],
                                                                limit: int) -> None:
    whole = sum({**standing, **needed}.values())
    told = shortage(needed, standing, limit)
    if told is None:
        assert whole <= limit or whole <= sum(standing.values()), "a smaller configuration is never refused"
    else:
        assert told == whole > limit


def test_what_is_told_is_what_the_worker_will_ask_the_broker_for() -> None:
    flows = (Flow(name="orders", steps=[{"call": "service/price"}, {"callback": {"url": "headers.x"}}]),
             Flow(name="large", steps=[{"log": "x"}], max_bytes="1GiB"))
    price = Service(name="price", source="price.py:price")
    found = set_aside_for({key_of(one): one for one in (*flows, price)})
    assert {stream: size for stream, (_, size) in found.items()} == {
        "F-orders": 3 * streams.FLOW_BYTES, "F-large": 0, "F-service=price": 2 * streams.IMPLICIT_BYTES}
    assert found["F-orders"][0] == "Flow/orders"


async def test_a_plan_says_what_the_broker_has_no_room_for(link: Link, home: Home, tmp_path: Path, flow: str) -> None:
    file = tmp_path / "flows.yaml"
    manifest = "kind: Flow\nname: {}\nmax_bytes: 200MiB\nsteps:\n  - log: x\n"
    file.write_text("---\n".join(manifest.format(name) for name in ("one", "two")))
    assert len((await plan(link, ApplyArguments(paths=(file,)))).changes) == 2
    conf = home.nats / "nats.conf"
    before = conf.read_bytes() if conf.exists() else None
    conf.parent.mkdir(exist_ok=True)
    standing = await streams.reserved(await link.bus())
    assert standing[stream_of(flow)] == 16 * 2**20
    try:
        for limit, fits in ((sum(standing.values()) + 800 * 2**20, True), (800 * 2**20, False)):
            conf.write_text(json.dumps({"jetstream": {"max_file_store": limit}}))
            if fits:
                await plan(link, ApplyArguments(paths=(file,)))
                continue
            with pytest.raises(ArintError, match="no room for the streams") as refused:
                await plan(link, ApplyArguments(paths=(file,)))
            assert "flow/one 400.0 MiB" in refused.value.what
            assert "max_bytes" in str(refused.value.remedy)
    finally:
        conf.write_bytes(before) if before is not None else conf.unlink()
