"""Resources of all kinds, as Hypothesis makes them."""

from __future__ import annotations

from hypothesis import strategies as st

from arint.resources.kinds import (
    Channel,
    Connection,
    Flow,
    Limits,
    Placement,
    Retry,
    Secret,
    SecretReference,
    SecretSource,
    Service,
    Update,
    Variables,
)

names = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
text = st.text(max_size=40) | st.sampled_from(
    ["no", "on", "~", "null", "1e5", "0x1f", "0o17", "012", "12:30", "2024-01-01", "1_000", "a\nb", "a\nb\n",
     "\n a", "a\n", "|", "- a", "k: v", "#", "&a", "*a", "!t", "%", "@", "`", "'", '"', "\t", " x ",
     "${HOME}", "a\r\nb", "\x85", "\ufeff", "=", "<<", ".inf", ".nan", "+.5", "1.", "-0", "...",
     "---", "\x00", "\x7f", "\u2028x\ny", "é\nü\n"])
duration = st.sampled_from(["500ms", "2s", "1.5m", "24h", "7d"])
scalars = (st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | text
           | st.floats(allow_nan=False, allow_infinity=False))
plain_data = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
                          max_leaves=8)
mappings = st.dictionaries(text, plain_data, max_size=4)
references = st.builds("{}/{}".format, st.sampled_from(["service", "flow"]), names)

words = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=20)
environments = st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True).filter(
    lambda name: not name.startswith("ARINT_")), text | st.builds(SecretReference, secret=names), max_size=2)
what_runs = st.just({"source": "price.py:price"}) | st.lists(words, min_size=1, max_size=3).map(
    lambda command: {"command": command})
services = st.builds(
    lambda runs, **fields: Service(**runs, **fields), what_runs, name=names, description=text, code=text,
    framing=st.sampled_from(["ndjson", "http"]),
    user=st.none() | st.just("shop"), env=environments,
    include=st.lists(text, max_size=2),
    replicas=st.integers(0, 10000), mode=st.sampled_from(["replicated", "singleton", "every-node"]),
    concurrency=st.integers(1, 10000), timeout=duration, config=mappings, secrets=st.lists(names, max_size=2),
    resources=st.builds(Limits, memory=st.none() | st.just("1GiB"), cpu=st.none() | st.floats(0.1, 1024),
                        processes=st.integers(16, 100_000)),
    placement=st.builds(Placement, labels=st.dictionaries(text, text, max_size=2),
                        spread=st.sampled_from(["node", ""])),
    update=st.builds(Update, max_parallel=st.integers(1, 9), healthy_after=duration, auto_revert=st.booleans()))
flows = st.builds(
    Flow, name=names, steps=st.lists(mappings, min_size=1, max_size=3), description=text, unavailable_for=duration,
    keep=duration, retry=st.builds(Retry, attempts=st.integers(1, 1000), backoff=st.just("2s..1m")))
channels = st.builds(Channel, name=names, to=references, transport=st.sampled_from(["http", "smtp"]), spec=mappings,
                     description=text, idempotency_for=duration)
connections = st.builds(Connection, name=names, transport=st.sampled_from(["http", "sql", "ftp"]), spec=mappings,
                        description=text)
secrets = st.builds(Secret, name=names, description=text, digest=text,
                    source=st.none() | st.builds(SecretSource, env=text, file=text))
variables = st.builds(Variables, name=names, description=text, values=st.dictionaries(
    st.from_regex(r"[A-Z_][A-Z0-9_]{0,9}", fullmatch=True), text, min_size=1, max_size=3))
resources = st.one_of(services, flows, channels, connections, secrets, variables)
