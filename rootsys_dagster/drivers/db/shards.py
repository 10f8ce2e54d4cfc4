"""A full read by several connections at once, all on one snapshot: each brings the rows whose key falls to it."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from rootsys_dagster.drivers.db.session import Fragment, Select, Session

BLOCKS_AHEAD: Final = 2
"""Of each connection: what is not taken yet is held in memory."""
Block = list[bytes] | BaseException | None
"""What a connection brings: rows, why it ended too early, or that it is done."""


def units_of_shards(
    select: Select, parts: Sequence[Fragment], connect: Callable[[threading.Event], Session]
) -> Iterator[list[bytes]]:
    """The rows of *select*, in the order in which they arrive.

    Args:
        parts: conditions of which each row meets one.
        connect: a session on the snapshot that all share, which gives up when the event is set.
    """
    blocks = queue.Queue[Block](BLOCKS_AHEAD * len(parts))
    given_up = threading.Event()
    readers = [
        threading.Thread(target=_read, args=(replace(select, where=part), connect, blocks, given_up), daemon=True)
        for part in parts
    ]
    for reader in readers:
        reader.start()
    try:
        remaining = len(readers)
        while remaining:
            block = blocks.get()
            if isinstance(block, BaseException):
                raise block
            if block is None:
                remaining -= 1
            else:
                yield block
    finally:
        given_up.set()
        while any(reader.is_alive() for reader in readers):
            # Whoever waits for room in the queue has to get it to see that nobody listens any more.
            _drain(blocks)
            for reader in readers:
                reader.join(0.01)


def _read(
    select: Select,
    connect: Callable[[threading.Event], Session],
    blocks: "queue.Queue[Block]",
    given_up: threading.Event,
) -> None:
    try:
        with connect(given_up) as session:
            session.describe(select.source)
            for units in session.units(select):
                if given_up.is_set():
                    return
                blocks.put(units)
    except BaseException as error:  # noqa: BLE001  (raised again by whoever reads the queue)
        blocks.put(error)
    else:
        blocks.put(None)


def _drain(blocks: "queue.Queue[Block]") -> None:
    try:
        while True:
            blocks.get_nowait()
    except queue.Empty:
        return
