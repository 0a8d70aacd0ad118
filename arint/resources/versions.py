"""Which changes of a service need a new process."""

from __future__ import annotations

import hashlib

import msgspec

from arint.resources.kinds import Limits, Placement, Service, Update


def version_of(service: Service) -> str:
    """What a process is of the service: changes to anything else (replicas, placement, …) need no new process."""
    same_process = msgspec.structs.replace(service, replicas=1, mode="replicated", description="", include=[],
                                           requirements=[], placement=Placement(), update=Update(), resources=Limits())
    return hashlib.sha256(msgspec.json.encode(same_process, order="deterministic")).hexdigest()[:16]
