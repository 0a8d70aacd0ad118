"""The IN side of files: a task for each channel, which looks at its folder and takes what is finished."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from arint.plugins import ChannelBinding, Intake
from plugins.file.taker import Taker


class FileSource:
    """All folders of this process."""

    def __init__(self) -> None:
        self._intake: Intake | None = None
        self._takers: dict[str, tuple[ChannelBinding, Taker]] = {}

    async def start(self, intake: Intake, *, host: str, port: int) -> None:
        """Nothing listens: the folders are looked at from the first `update` on."""
        self._intake = intake

    async def update(self, channels: Sequence[ChannelBinding]) -> None:
        """Watch these channels' folders. One whose channel has not changed goes on undisturbed."""
        assert self._intake is not None
        wanted = {channel.name: channel for channel in channels}
        leaving = [name for name, (channel, _) in self._takers.items() if wanted.get(name) != channel]
        await asyncio.gather(*(self._takers.pop(name)[1].stop(10.0) for name in leaving))
        for name, channel in wanted.items():
            if name not in self._takers:
                taker = Taker(channel, self._intake)
                taker.start()
                self._takers[name] = (channel, taker)

    async def stop(self, grace: float) -> None:
        """Take nothing new. What is claimed and not yet stored is found again at the next start."""
        await asyncio.gather(*(taker.stop(grace) for _, taker in self._takers.values()))
        self._takers.clear()
