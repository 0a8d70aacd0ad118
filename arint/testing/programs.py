"""Services that are programs, in a test: started when first called, ended with the run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from arint.command.service import CommandService, Setting
from arint.resources.kinds import Service
from arint.testing.code import ServiceCode


class Programs:
    """Those of one run. A service's `user` is left out: a test runs as whoever runs it."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._secrets = secrets
        self._running: dict[str, CommandService] = {}
        self._scratch: Path | None = None

    async def of(self, code: ServiceCode, config: Mapping[str, Any] | None) -> CommandService:
        """The service's program, which serves. Raises ArintError that says why it does not."""
        service = msgspec.structs.replace(code.service, user=None)
        if service.name not in self._running:
            command = CommandService(service, self._setting(code.folder, service, config or {}))
            await command.start()
            self._running[service.name] = command
        return self._running[service.name]

    async def close(self) -> None:
        """End them all."""
        for command in self._running.values():
            await command.stop(0.0)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _setting(self, folder: Path, service: Service, config: Mapping[str, Any]) -> Setting:
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="arint-test-"))
        known = {"ARINT_DATA": str(self._scratch), "ARINT_NODE": "test", "ARINT_CLUSTER": "test"}
        return Setting(folder=folder, sockets=self._scratch, instance=f"{service.name}-1", config=config, known=known,
                       variables={**known, "ARINT_HOME": str(self._scratch)}, secrets=self._secrets)
