"""Cutting work into transactions that etcd accepts, by count and by bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from arint.store.transactions import MAX_OPERATIONS

LARGEST_REQUEST = 2**20
"""Bytes in one transaction: etcd by itself refuses requests over 1.5 MiB."""

T = TypeVar("T")


def chunks(items: Iterable[T], size: int = MAX_OPERATIONS) -> Iterator[list[T]]:
    """The items in lists of at most `size`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def batches(contents: Iterable[tuple[str, bytes]], limit: int = LARGEST_REQUEST) -> Iterator[list[tuple[str, bytes]]]:
    """Keys and values in lists that fit one transaction each; a value over `limit` gets one of its own."""
    for chunk in chunks(contents):
        batch: list[tuple[str, bytes]] = []
        size = 0
        for key, value in chunk:
            cost = len(key) + len(value)
            if batch and size + cost > limit:
                yield batch
                batch, size = [], 0
            batch.append((key, value))
            size += cost
        yield batch
