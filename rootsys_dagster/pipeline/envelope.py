"""The lines of the commit log: payload bytes between constant parts that are rendered once per batch.

Source: spec/1-reference.md 1.4; members stand in the order listed there.
"""

import base64
from collections.abc import Sequence
from typing import Any

import orjson

from rootsys_dagster.core.interface import Interface
from rootsys_dagster.core.ports import Locators, PayloadKind
from rootsys_dagster.core.record import Message, member, messages_json, reason_codes

KIND_NAMES: dict[PayloadKind, bytes] = {"json": b"Json", "text": b"Text", "binary": b"Binary"}


def payload_data(unit: bytes, kind: PayloadKind) -> bytes:
    """The member ``payload.data``: JSON as received, text as a string, binary as base64."""
    if kind == "json":
        return unit
    if kind == "text":
        return orjson.dumps(unit.decode())
    return b'{"encoding":"base64","data":"%b"}' % base64.b64encode(unit)


def payload_bytes(payload: dict[str, Any]) -> bytes:
    """The unit that a text or binary payload of a record was made from."""
    data = payload["data"]
    return data.encode() if payload["kind"] == "Text" else base64.b64decode(data["data"], validate=True)


class Envelope:
    """Renders records and dead letters of one interface and source."""

    def __init__(self, interface: Interface, source: str) -> None:
        head = member("source", source) + b"," + member("interface", _interface(interface))
        self.record_begin = b"{" + head + b',"record_id":'
        self.dead_letter_begin = b"{" + head
        self._policy = interface.record_id_policy
        self._driver_kind = interface.driver.kind

    @staticmethod
    def before_payload(ingested_at_unix_ms: int, kind: PayloadKind) -> bytes:
        """From the record id to the payload data."""
        return b',"ingested_at_unix_ms":%d,"payload":{"kind":"%b","data":' % (ingested_at_unix_ms, KIND_NAMES[kind])

    @staticmethod
    def before_position(locators: Locators) -> bytes:
        """From the payload data to the position of the unit."""
        details = member("source_type", locators.source_type) + b"," + member("locator", locators.locator)
        content = member("content_type", locators.content_type) + b"," + member("filename", locators.filename)
        return b'},"metadata":{' + content + b',"source_details":{' + details + b',"position":'

    @staticmethod
    def after_position(warnings: Sequence[Message] = ()) -> bytes:
        """From the position to the end of the line."""
        return b'}},"warnings":' + messages_json(warnings) + b"}\n"

    def dead_letter(
        self,
        unit: bytes,
        kind: PayloadKind,
        position: bytes,
        locators: Locators,
        errors: Sequence[Message],
        rejected_at_unix_ms: int,
    ) -> bytes:
        """One DeadLetter line."""
        lineage = {
            "rejected_at_unix_ms": rejected_at_unix_ms,
            "pipeline_stage": "integration",
            "driver_kind": self._driver_kind,
            "record_id_policy": self._policy,
            "source_type": locators.source_type,
            "source_locator": locators.locator,
        }
        return b"".join(
            (
                self.dead_letter_begin,
                b',"payload":{"kind":"%b","data":' % KIND_NAMES[kind],
                payload_data(unit, kind),
                self.before_position(locators),
                position,
                b"}},",
                member("reason_codes", reason_codes(errors)),
                b",",
                member("lineage", lineage),
                b',"errors":',
                messages_json(errors),
                b"}\n",
            )
        )


def _interface(interface: Interface) -> dict[str, str]:
    return {"name": interface.name, "version": interface.version}
