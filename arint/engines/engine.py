"""An engine: a process with a probe that asks it a real question."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from arint.engines.find import Program
from arint.engines.process import Process
from arint.errors import ArintError, TimedOutError, UnreachableError
from arint.home import Pem

if TYPE_CHECKING:
    import ssl

PROBE_TIMEOUT = 2.0
_PROBE_INTERVAL = 0.05


class Engine(ABC):
    """`process` is kept running by its owner (`arint.engines.process.keep_running`)."""

    name: str
    process: Process
    program: Program

    @abstractmethod
    async def ask(self) -> None:
        """Ask the engine what only a working one can answer; raises OSError, ValueError, EOFError or ArintError."""

    @abstractmethod
    async def stop(self, grace: float = 10.0) -> bool:
        """Stop it gently, by force after `grace` seconds; returns whether it went by itself."""

    async def probe(self) -> None:
        """Raises UnreachableError, with what was tried, unless the engine works."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                await self.ask()
        except TimeoutError:
            raise UnreachableError(f"no answer within {PROBE_TIMEOUT:g} s", where=self.name,
                                   remedy=f"see {self.process.log_file}") from None
        except (OSError, ValueError, EOFError) as error:
            raise UnreachableError(f"it does not answer: {error}", where=self.name,
                                   remedy=f"see {self.process.log_file}") from error

    async def wait_ready(self, timeout: float = 10.0) -> None:
        """Wait until a probe passes. Raises TimedOutError with the last failure and the log's last line."""
        last = "it was not asked"
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        await self.probe()
                    except ArintError as error:
                        last = error.what
                    else:
                        return
                    await asyncio.sleep(_PROBE_INTERVAL)
        except TimeoutError:
            said = self.process.log_tail().strip().rpartition("\n")[2]
            raise TimedOutError(f"not ready after {timeout:g} s: {last}; its log ends: {said[:300] or '(nothing)'}",
                                where=self.name, remedy=f"see {self.process.log_file}") from None


def client_context(pem: Pem) -> ssl.SSLContext:
    """TLS as the identity `pem`: its CA alone is trusted, and names are checked."""
    import ssl  # 4 MiB, and the agent's own probes do without it

    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=pem.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # etcd 3.5 still offers 1.2 to some; 1.3 is taken where it is
    context.load_cert_chain(pem.certificate, pem.key)
    return context
