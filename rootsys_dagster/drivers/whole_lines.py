"""A stream of bytes cut into blocks of whole lines, in bounded memory however long a line is."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from rootsys_dagster.drivers.marks import WINDOW_BYTES

BLOCK_BYTES = 1 << 16
"""Larger blocks cost a fifth more CPU: the allocator gives their memory back after each one."""
KEPT_BYTES = 1 << 16
"""What a dead letter keeps of a line above ``limits.max_record_bytes``."""


@dataclass(frozen=True, slots=True)
class OversizedLine:
    """A line above the limit: its first 64 KiB, and its last 4 KiB with the newline; hash and length without it."""

    head: bytes
    last: bytes
    length: int
    sha256: str
    raw_bytes: int


class WholeLines:
    """Cuts a stream into blocks of whole lines, none longer than *limit*, and into single longer lines."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self.stream = stream
        self.limit = limit

    def read(self, *, unterminated: bool) -> Iterator[bytes | OversizedLine]:
        """Blocks of about 64 KiB that end with a newline.

        Args:
            unterminated: whether what stands behind the last newline is a line too.
        """
        partial: list[bytes] = []
        size = 0
        while data := bytes(self.stream.read(BLOCK_BYTES)):
            end = data.rfind(b"\n") + 1
            if end:
                partial.append(data[:end])
                yield from self._split(b"".join(partial))
                partial, size = [data[end:]] if end < len(data) else [], len(data) - end
                continue
            partial.append(data)
            size += len(data)
            if size > self.limit:
                line, rest = self._read_oversized(b"".join(partial))
                if unterminated or line.raw_bytes > line.length:
                    yield line
                if (end := rest.rfind(b"\n") + 1) > 0:
                    yield from self._split(rest[:end])
                partial, size = [rest[end:]], len(rest) - end
        if unterminated and size:
            yield from self._split(b"".join(partial))

    def _split(self, block: bytes) -> Iterator[bytes | OversizedLine]:
        if len(block) <= self.limit:
            yield block
            return
        start = end = 0
        for line in block.split(b"\n"):
            raw_bytes = min(len(line) + 1, len(block) - end)
            if len(line) > self.limit:
                if start < end:
                    yield block[start:end]
                raw = block[end : end + raw_bytes]
                digest = hashlib.sha256(line).hexdigest()
                yield OversizedLine(line[:KEPT_BYTES], raw[-WINDOW_BYTES:], len(line), digest, raw_bytes)
                start = end + raw_bytes
            end += raw_bytes
        if start < end:
            yield block[start:end]

    def _read_oversized(self, begun: bytes) -> tuple[OversizedLine, bytes]:
        """Read a line that is too long already up to its newline, and what was read behind it."""
        head, last, length = begun[:KEPT_BYTES], begun[-WINDOW_BYTES:], len(begun)
        digest = hashlib.sha256(begun)
        while data := bytes(self.stream.read(BLOCK_BYTES)):
            end = data.find(b"\n")
            content = data if end < 0 else data[:end]
            digest.update(content)
            length += len(content)
            if len(head) < KEPT_BYTES:
                head = (head + content)[:KEPT_BYTES]
            last = (last + data[: end + 1] if end >= 0 else last + data)[-WINDOW_BYTES:]
            if end >= 0:
                return OversizedLine(head, last, length, digest.hexdigest(), length + 1), data[end + 1 :]
        return OversizedLine(head, last, length, digest.hexdigest(), length), b""
