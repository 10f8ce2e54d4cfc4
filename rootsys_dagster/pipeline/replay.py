"""Dead letters from a file or a table go through an interface again. Source: spec/1-reference.md 1.11.

Nothing marks or removes what was replayed, and the position of the source never moves.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.ports import Batch, Oversized, PayloadKind
from rootsys_dagster.core.registry import LOCATORS
from rootsys_dagster.pipeline.envelope import payload_bytes
from rootsys_dagster.pipeline.exact_json import NotJsonError, parse

KINDS: dict[str, PayloadKind] = {"Json": "json", "Text": "text", "Binary": "binary"}


class _Payload(msgspec.Struct):
    kind: Literal["Json", "Text", "Binary"]
    data: msgspec.Raw


class _Details(msgspec.Struct):
    source_type: str
    locator: str | None = None
    position: msgspec.Raw = msgspec.Raw(b"null")


class _Metadata(msgspec.Struct):
    content_type: str | None = None
    filename: str | None = None
    source_details: _Details | None = None


class _DeadLetter(msgspec.Struct):
    payload: _Payload
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    reason_codes: list[str] = []


_decode = msgspec.json.Decoder(_DeadLetter).decode


@LOCATORS.register("replay")
@dataclass(frozen=True, slots=True)
class ReplayedFrom:
    """Where a dead letter first came from: its metadata is kept."""

    source_type: str
    locator: str | None
    content_type: str | None
    filename: str | None
    position: str

    def positions(self, units: Sequence[bytes]) -> Iterable[bytes]:
        """The position that the dead letter carries."""
        return [self.position.encode() for _ in units]

    def to_json(self) -> dict[str, Any]:
        """JSON members for the spool."""
        return {"kind": "replay"} | {name: getattr(self, name) for name in self.__slots__}


def read_dead_letters(path: Path, source: Literal["file", "sqlite"], table: str = "dead_letters") -> Iterator[Batch]:
    """The units of dead letters in the order in which they were kept, one batch each.

    Raises:
        ConfigError: the file or table cannot be read, or holds something that is not a dead letter.
    """
    lines = _file_lines(path) if source == "file" else _table_rows(path, table)
    for place, line in lines:
        try:
            batch = replayed_batch(line)
        except ValueError:
            raise _bad_line(path, place) from None
        yield batch


def replayed_batch(line: bytes) -> Batch:
    """The unit of one dead letter as it was fetched, a batch by itself.

    Raises:
        ValueError: *line* is no dead letter.
    """
    letter = _decode(line)
    unit = _unit(letter.payload)
    oversized = _oversized(letter)
    # What could not be decoded was kept as text or base64, but it is still what the source meant to be JSON.
    undecoded = "PAYLOAD_DECODE_FAILED" in letter.reason_codes
    metadata = letter.metadata
    details = metadata.source_details or _Details("dead_letter")
    locators = ReplayedFrom(
        details.source_type,
        details.locator,
        metadata.content_type,
        metadata.filename,
        _on_one_line(bytes(details.position)).decode(),
    )
    kind = "json" if undecoded and metadata.content_type != "text/plain" else KINDS[letter.payload.kind]
    return Batch([_on_one_line(unit) if kind == "json" else unit], kind, locators, {}, 0, oversized)


def _bad_line(path: Path, place: str) -> ConfigError:
    message = f"{path}: {place} is not a dead letter; mend or remove it and replay again"
    return ConfigError(message, code="REPLAY.BAD_LINE")


def _on_one_line(document: bytes) -> bytes:
    """*document* without line feeds when it is JSON, where they are only white space: it becomes part of a line."""
    if b"\n" not in document:
        return document
    try:
        parse(document)
    except NotJsonError:
        return document
    return document.replace(b"\n", b" ")


def _oversized(letter: _DeadLetter) -> Oversized | None:
    """Of a unit above the limit only the beginning was kept: it stays rejected, whatever the interface says."""
    if "RECORD_TOO_LARGE" not in letter.reason_codes or letter.metadata.source_details is None:
        return None
    return msgspec.json.decode(letter.metadata.source_details.position, type=Oversized)


def _unit(payload: _Payload) -> bytes:
    if payload.kind == "Json":
        return bytes(payload.data)
    return payload_bytes({"kind": payload.kind, "data": msgspec.json.decode(payload.data)})


def _file_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield f"line {number}", line
    except OSError as error:
        message = f"cannot read dead letters from {path}: {error.strerror}"
        raise ConfigError(message, code="REPLAY.UNREADABLE") from error


def _table_rows(path: Path, table: str) -> Iterator[tuple[str, bytes]]:
    try:
        path.stat()
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            columns = {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}
            # A table of the first generation has no reason codes: they are those of its errors.
            codes = "reason_codes_json" if "reason_codes_json" in columns else "NULL"
            query = f'SELECT id, payload_json, metadata_json, {codes}, errors_json FROM "{table}" ORDER BY id'
            for number, payload, metadata, reasons, errors in connection.execute(query):
                place = f"row {number}"
                try:
                    line = _letter(payload, metadata, reasons, errors)
                except (msgspec.DecodeError, KeyError, TypeError):
                    raise _bad_line(path, place) from None
                yield place, line
    except OSError as error:
        message = f"cannot read dead letters from {path}: {error.strerror}"
        raise ConfigError(message, code="REPLAY.UNREADABLE") from error
    except sqlite3.Error as error:
        raise ConfigError(
            f"cannot read dead letters from table {table} of {path}: {type(error).__name__}", code="REPLAY.UNREADABLE"
        ) from error


def _letter(payload: str, metadata: str, reasons: str | None, errors: str) -> bytes:
    if reasons is None:
        codes = dict.fromkeys(message["code"] for message in msgspec.json.decode(errors, type=list[dict[str, Any]]))
        reasons = msgspec.json.encode(list(codes)).decode()
    return f'{{"payload":{payload},"metadata":{metadata},"reason_codes":{reasons}}}'.encode()
