"""The OUT side of files: each delivery is a file that appears whole, or an addition to one; once for each key."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path

from arint.errors import ArintError, RejectedError, SystemUnavailableError
from arint.plugins import Delivery, SinkContext
from plugins.file.confined import opened_root
from plugins.file.ledger import Ledger
from plugins.file.names import Name
from plugins.file.specs import FileConnection
from plugins.file.writer import Writer

_OF_THE_NAME = frozenset({errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EILSEQ, errno.EINVAL})
_PROBE = b".arint-probe"


class FileSink:
    """Puts files into one folder. One thread: files are written in the order in which they are sent."""

    def __init__(self, context: SinkContext) -> None:
        spec: FileConnection = context.spec
        self._where = f"connection/{context.name}"
        self._path = spec.path
        self._ledger = Ledger(Path(context.data) / "file-sinks" / f"{context.name}.db")
        self._writer = Writer(spec.path, self._ledger, int(spec.mode, 8))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"file-{context.name}")

    async def send(self, delivery: Delivery) -> bytes | None:
        """Write the file, unless this was done before. There is no answer."""
        folders, name = _name(delivery.options.name).fill(delivery.message)
        work = partial(self._writer.write, delivery.message.body, folders, name, delivery.options,
                       delivery.idempotency_key)
        try:
            async with asyncio.timeout(delivery.timeout):
                await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except TimeoutError as error:
            raise SystemUnavailableError(f"not written within {delivery.timeout:g} s", where=self._where) from error
        except ArintError as error:
            error.where = error.where or self._where
            raise
        except OSError as error:
            raise self._told(error) from error
        except sqlite3.Error as error:
            raise SystemUnavailableError(f"the ledger of deliveries: {error}", where=self._where) from error
        return None

    def _told(self, error: OSError) -> RejectedError | SystemUnavailableError:
        """A name that the file system does not have is the message's fault; anything else the folder's."""
        if error.errno in _OF_THE_NAME:
            what = "a link stands in its way" if error.errno in (errno.ELOOP, errno.ENOTDIR) else error.strerror
            return RejectedError(f"this file cannot be written: {what}", where=self._where)
        return SystemUnavailableError(f"{self._path}: {error.strerror or error}", where=self._where)

    async def probe(self) -> None:
        """Write and remove a file."""
        try:
            await asyncio.to_thread(self._try)
        except OSError as error:
            raise SystemUnavailableError(f"{self._path}: {error.strerror or error}", where=self._where) from error

    def _try(self) -> None:
        root = opened_root(self._path, make=True)
        try:
            descriptor = os.open(_PROBE, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=root)
            try:
                os.write(descriptor, b"?")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
                os.unlink(_PROBE, dir_fd=root)
        finally:
            os.close(root)

    async def close(self) -> None:
        """Finish what is being written."""
        await asyncio.to_thread(self._thread.shutdown)
        self._ledger.close()


@lru_cache(maxsize=256)
def _name(text: str) -> Name:
    return Name(text)
