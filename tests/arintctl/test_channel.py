"""The page on describing an API, done as it says on a real cluster: document, channel list, show and try; metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

from arint.ports import free_port
from tests.arintctl.test_cluster import Cluster
from tests.docs.test_documented import ROOT, blocks, written_files

PAGE = ROOT / "docs/how-to/describe-an-api.md"
KEY = "k3y-of-the-theatre"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("channel")
    written_files(PAGE, folder)
    (folder / "bookings/bookings.key").write_text(f"{KEY}\n")
    cluster = Cluster(folder)
    try:
        cluster("up", "--http-port", str(free_port()), "--metrics-port", str(free_port()))
        cluster("apply", "bookings")
        yield cluster
    finally:
        cluster("down", "--purge", "--yes", "--grace", "10s")


def fetched(url: str, **headers: str) -> str:
    with urlopen(Request(url, headers=headers), timeout=10) as answer:
        return str(answer.read().decode())


def test_the_document_tells_what_the_service_takes(cluster: Cluster) -> None:
    found = cluster.json("channel", "openapi")
    assert not list(OpenAPIV31SpecValidator(found).iter_errors())
    assert list(found["paths"]) == ["/bookings", "/bookings/messages/{message_id}"]
    schema = found["components"]["schemas"]["bookings-in.payload"]
    assert schema["$defs"]["Booking"]["properties"]["seats"] == {"type": "integer", "minimum": 1, "maximum": 20}
    assert "openapi: 3.1.0" in cluster("channel", "openapi", "bookings-in", "-o", "yaml")
    address = found["servers"][0]["url"]
    served = json.loads(fetched(f"{address}/openapi.json", **{"X-API-Key": KEY}))
    assert served["paths"] == found["paths"]
    assert served["components"] == found["components"]


def test_channels_are_listed_and_shown(cluster: Cluster) -> None:
    [row] = cluster.json("channel", "list")
    assert (row["name"], row["methods"], row["auth"]) == ("bookings-in", ["POST"], "(secret bookings-key)")
    shown = cluster("channel", "show", "bookings-in")
    assert "Bookings of the theatre's partners." in shown and "curl -i " in shown and '"seats"' in shown
    assert KEY not in shown
    assert "bookings-in" in cluster("channel", "show", "bookins-in", code=3)


def test_a_sample_goes_through_to_its_end_and_the_key_stays_secret(cluster: Cluster) -> None:
    told = cluster("channel", "try", "bookings-in", "booking.json", "--wait")
    assert "202 Accepted" in told and "bookings.start" in told and "done" in told
    assert "-H 'X-API-Key: (secret bookings-key)'" in told and KEY not in told
    result = cluster.json("channel", "try", "bookings-in", "booking.json", "--wait", "-H", "Idempotency-Key=a")
    assert result["status"] == 202 and result["story"]["state"] == "done"
    again = cluster.json("channel", "try", "bookings-in", "booking.json", "-H", "Idempotency-Key=a")
    assert again["message"] == result["message"] and again["headers"]["idempotency-replayed"] == "true"


def test_a_message_of_the_cluster_becomes_a_test(cluster: Cluster) -> None:
    (cluster.folder / "night.json").write_text('{"evening": "2027-01-01", "seats": 0}')
    for sample, state in (("booking.json", "done"), ("night.json", "dead")):
        code = 0 if state == "done" else 1
        cluster("channel", "try", "bookings-in", sample, "--wait", code=code)
        [newest] = cluster.json("message", "list", "-n", "1")
        assert newest["state"] == state
        file = f"{sample}-of-the-cluster.expected.yaml"
        cluster("message", "record", newest["id"], file)
        assert "there already" in cluster("message", "record", newest["id"], file, code=4)
        assert "as it was recorded" in cluster("flow", "test", "bookings", file, "-f", "bookings", "--check")
    text = (cluster.folder / file).read_text()
    (cluster.folder / file).write_text(text.replace("state: dead", "state: done"))
    assert "not what was recorded" in cluster("flow", "test", "bookings", file, "-f", "bookings", "--check", code=1)
    assert cluster.json("message", "record", newest["id"])["flow"] == "bookings"


def test_what_goes_wrong_is_told_with_what_to_do(cluster: Cluster) -> None:
    (cluster.folder / "bad.json").write_text('{"evening": "soon", "seats": 99}')
    dead = cluster("channel", "try", "bookings-in", "bad.json", "--wait", code=1)
    assert "dead letter" in dead and "arintctl dlq show" in dead
    assert "401" in cluster("channel", "try", "bookings-in", "bad.json", "-H", "X-API-Key=wrong", code=1)
    assert "takes POST" in cluster("channel", "try", "bookings-in", "--method", "GET", code=2)
    (cluster.folder / "large").write_bytes(b"x" * 20_000)
    assert "limits.body" in cluster("channel", "try", "bookings-in", "large", code=1)
    assert "nofile" in cluster("channel", "try", "bookings-in", "nofile", code=3)


def test_metrics_are_where_the_status_says(cluster: Cluster) -> None:
    text = fetched(cluster.json("status")["nodes"][0]["metrics"])
    families = {family.name: family for family in text_string_to_metric_families(text)}
    statuses = {sample.labels["status"] for sample in families["arint_channel_requests"].samples}
    assert "202" in statuses
    assert any(sample.value for sample in families["arint_stage_attempt_duration_seconds"].samples)
    assert "metrics" in cluster("status")


def test_the_commands_of_the_page_are_those_that_were_run() -> None:
    run = Path(__file__).read_text()
    lines = [line for language, _, text in blocks(PAGE) if language == "sh" for line in text.splitlines()]
    for noun_verb in {found[0] for line in lines if (found := re.match(r"arintctl channel \w+", line))}:
        _, noun, word = noun_verb.split()
        assert f'"{noun}", "{word}"' in run


def test_a_channel_with_a_parameter_in_its_path_is_listed_and_shown(cluster: Cluster) -> None:
    (cluster.folder / "sku").mkdir()
    (cluster.folder / "sku/sku.py").write_text("def sku(body: dict) -> dict:\n    return body\n")
    (cluster.folder / "sku/sku.yaml").write_text(
        "kind: Service\nname: sku\nsource: sku.py:sku\n---\nkind: Channel\nname: sku\ndelivery: immediate\n"
        "http: {path: '/sku/{sku}', methods: [GET]}\nto: service/sku\n")
    cluster("apply", "sku")
    assert "/sku/{sku}" in cluster("channel", "list")
    assert "/sku/{sku}" in cluster("channel", "show", "sku")
