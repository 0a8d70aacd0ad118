"""The postage example: a flow whose service is a Perl script, run as it is."""

from __future__ import annotations

import json
from pathlib import Path

from arint.testing import FlowTest

HOME = Path(__file__).parents[2] / "examples/postage"
SAMPLES = {sample.stem: json.loads(sample.read_text()) for sample in (HOME / "samples").glob("*.json")}


def test_a_light_parcel_is_stored_with_its_postage() -> None:
    run = FlowTest(HOME, name="parcels").run(SAMPLES["light"])
    assert run.failure is None
    [row] = run.sent_to("connection/parcels-db")
    assert row.value == {"id": "P-1", "country": "DE", "kg": 1.2, "postage": 4.99}
    assert not run.sent_to("flow/heavy")


def test_of_a_heavy_one_another_flow_is_told() -> None:
    run = FlowTest(HOME, name="parcels").run(SAMPLES["heavy"])
    assert run.value["postage"] == 29
    [told] = run.sent_to("flow/heavy")
    assert told.value == {"id": "P-2"}


def test_what_it_refuses_and_what_it_dies_of() -> None:
    refused = FlowTest(HOME, name="parcels").run(SAMPLES["nowhere"]).failure
    assert refused is not None
    assert refused.kind == "rejected"
    assert "no tariff for XX" in refused.message
    broken = FlowTest(HOME, name="parcels").run(b"no json").failure
    assert broken is not None
    assert "expected, at character offset" in broken.message


def test_without_its_tariff_it_does_not_serve() -> None:
    run = FlowTest(HOME, name="parcels", config={"postage": {}}).run(SAMPLES["light"])
    assert run.failure is not None
    assert "config.tariff is missing" in run.failure.message
