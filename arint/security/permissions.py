"""Who may say what on the bus: made into the broker's configuration. Pure.

The broker knows a client by the subject of its certificate. What runs on a node has one certificate for each purpose
(`worker`, `agent`, `admin`), a person has `user@<name>`. Who is not listed is not let in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from arint.bus import subjects

_PERSON = "user@"
_ALL = ">"
_ADMINISTRATION = ("admin.>", "reply.>", "audit.>")
"""Where people and the administration service speak to each other, and where what they did is written down."""


def common_name_of(user: str) -> str:
    """The common name in a user's certificate."""
    return f"{_PERSON}{user}"


def bus_users(people: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The `users` of the broker's configuration.

    A worker's certificate can be read by the code of users that it runs: it may store, take, ask and answer, but
    neither call the administration nor listen to it, and it cannot touch the audit.
    """
    return [_user("admin", [_ALL], [_ALL]), *(_user(name, [_ALL], [_ALL], not_publish=[*_ADMINISTRATION, *_of_audit()],
                                                    not_subscribe=[*_ADMINISTRATION]) for name in ("worker", "agent")),
            *(_user(common_name_of(name), [f"admin.{name}.>"], [f"reply.{name}.>"]) for name in sorted(set(people)))]


def _user(common: str, publish: list[str], subscribe: list[str], *, not_publish: list[str] | None = None,
          not_subscribe: list[str] | None = None) -> dict[str, Any]:
    return {"user": f"CN={common},O=ARINT", "permissions": {
        "publish": {"allow": publish, "deny": not_publish or []},
        "subscribe": {"allow": subscribe, "deny": not_subscribe or []}}}


def _of_audit() -> list[str]:
    """All by which the stream of the audit is read, changed or removed."""
    api, stream = "$JS.API", subjects.AUDIT
    return [f"{api}.STREAM.*.{stream}", f"{api}.STREAM.*.*.{stream}", f"{api}.CONSUMER.*.{stream}",
            f"{api}.CONSUMER.*.{stream}.>", f"{api}.CONSUMER.*.*.{stream}.>", f"{api}.DIRECT.GET.{stream}",
            f"{api}.DIRECT.GET.{stream}.>", f"$JS.ACK.{stream}.>"]
