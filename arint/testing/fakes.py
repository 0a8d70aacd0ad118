"""What stands for services and systems in memory, and how it answers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from arint.errors import NotFoundError
from arint.flows.run import Reply
from arint.flows.state import Level
from arint.message import Message
from arint.sdk import Context, Handler, with_result
from arint.testing.clock import Clock
from arint.testing.code import ServiceCode
from arint.testing.results import FlowRun, Sent

if TYPE_CHECKING:
    from arint.command.service import CommandService
    from arint.testing.flows import FlowTest
    from arint.testing.programs import Programs

Fake = Any
"""What stands for a service or a system: a callable, an error to raise, or the value that it answers."""


class Fakes:
    """Answers calls with what stands for the services."""

    def __init__(self, services: Mapping[str, Fake], config: Mapping[str, Mapping[str, Any]] | None = None,
                 secrets: Mapping[str, bytes] | None = None, clock: Clock | None = None,
                 timeouts: Mapping[str, float] | None = None) -> None:
        self._clock = clock
        self._timeouts = timeouts or {}
        self._services = services
        self._config = config or {}
        self._secrets = secrets or {}
        self._programs: Programs | None = None

    async def call(self, service: str, message: Message, stage: str) -> Reply:
        """What stands for the service, asked. Raises NotFoundError, and what it raises."""
        if service not in self._services:
            raise NotFoundError(f"nothing stands for service/{service}", where="arint.testing",
                                remedy=f'services={{"{service}": …}}')
        fake = self._services[service]
        limit = self._timeouts.get(service, 0.0)
        now = time_of(self._clock)
        context = Context(message, service=service, stage=stage, config=self._config.get(service), clock=now,
                          deadline=now() + limit if limit else 0.0, secrets=self._secrets, request=self.request)
        if isinstance(fake, ServiceCode):
            if fake.service.command:
                return await (await self._program(fake)).handle(message, context)
            fake = fake.load()
        if callable(fake) and not isinstance(fake, BaseException):
            return await Handler(fake).handle(message, context)
        return Reply(with_result(message, _answer(fake)))

    async def _program(self, code: ServiceCode) -> CommandService:
        from arint.testing.programs import Programs

        self._programs = self._programs or Programs(self._secrets)
        return await self._programs.of(code, self._config.get(code.service.name))

    async def close(self) -> None:
        """End the programs that were started."""
        if self._programs is not None:
            await self._programs.close()

    async def request(self, service: str, message: Message, timeout: float) -> Message:
        """As `call`, for a service that asks another."""
        return (await self.call(service, message, f"call={service}")).message


class RecordingEffects:
    """The world, as a test has it."""

    def __init__(self, test: FlowTest, run: FlowRun) -> None:
        self._connections = test.connections
        self._fakes = Fakes(test.services, test.config, test.secrets, test.clock, test.timeouts)
        self._run = run

    async def close(self) -> None:
        """End the programs that were started."""
        await self._fakes.close()

    async def call(self, service: str, message: Message, idempotency_key: str, timeout: float) -> Reply:
        """What stands for the service, asked."""
        return await self._fakes.call(service, message, idempotency_key)

    async def send(self, target: str, message: Message, options: Mapping[str, Any], idempotency_key: str,
                   timeout: float) -> bytes | None:
        """What stands for the connection, asked; recorded once it has answered."""
        fake = self._connections.get(target.partition("/")[2])
        sent = Sent(target, message, options, idempotency_key=idempotency_key)
        answer = await _maybe(fake(sent)) if callable(fake) and not isinstance(fake, BaseException) else _answer(fake)
        self._run.sent.append(sent)
        return answer if answer is None or isinstance(answer, bytes) else msgspec.json.encode(answer)

    async def callback(self, url: str, method: str, headers: Mapping[str, str], body: bytes, idempotency_key: str,
                       timeout: float, trusted: bool) -> None:
        """Recorded; an address may have something that stands for it too."""
        message = msgspec.structs.replace(self._run.message, body=body)
        sent = Sent(url, message, {"method": method}, headers, idempotency_key)
        fake = self._connections.get(url)
        if callable(fake) and not isinstance(fake, BaseException):
            await _maybe(fake(sent))
        else:
            _answer(fake)
        self._run.sent.append(sent)

    def log(self, level: Level, text: str, message: Message) -> None:
        """Recorded."""
        self._run.logs.append((level, text))


def time_of(clock: Clock | None) -> Callable[[], float]:
    """What tells the time."""
    return time.time if clock is None else clock.time


def _answer(fake: Fake) -> Any:
    if isinstance(fake, BaseException):
        raise fake
    return fake


async def _maybe(result: Any) -> Any:
    return await result if isinstance(result, Awaitable) else result
