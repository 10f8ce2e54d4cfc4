"""Ctrl-C and SIGTERM: the first one commits what is complete and ends, the second one ends at once."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from rootsys_dagster.cli.output import note

T = TypeVar("T")


class StopRequested(BaseException):
    """Leaves a read that would wait for its source; never leaves this module."""


class Stop:
    """Whether the user has asked to stop. Asking ends the wait for a source; nothing else is cut short."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._waiting = False

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What a shell expects of a command that a signal has ended; 0 when none has come."""
        return 0 if self.signal is None else 128 + self.signal

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Take both signals over for the length of the block."""
        handlers = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def raise_if_requested(self) -> None:
        """End the command between two steps of a work that can only be given up; what is committed stays."""
        if self.requested:
            raise KeyboardInterrupt

    def until_requested(self, items: Iterable[T]) -> Iterator[T]:
        """*items* up to the request. An item that is on its way is given up: its source still has it."""
        iterator = iter(items)
        try:
            while not self.requested:
                self._waiting = True
                item = next(iterator, None)
                self._waiting = False
                if item is None:
                    return
                yield item
        except StopRequested:
            return
        finally:
            self._waiting = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        note("\nstopping: what is complete is committed first; once more ends at once")
        if self._waiting:
            self._waiting = False
            raise StopRequested
