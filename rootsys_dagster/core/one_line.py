"""A JSON value on one line, because a record is a line."""

from typing import Final

LINE_ENDS: Final = bytes.maketrans(b"\n\r", b"  ")


def one_line(value: bytes) -> bytes:
    """A valid JSON value on one line, and as long as before: a line end in it can only stand between tokens."""
    return value.translate(LINE_ENDS) if b"\n" in value or b"\r" in value else value
