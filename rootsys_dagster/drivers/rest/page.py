"""A response as units: JSON is cut up as bytes, so that numbers, key order and repeated keys stay as they were sent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from rootsys_dagster.core.config import PayloadFormat
from rootsys_dagster.core.errors import PermanentError
from rootsys_dagster.core.one_line import one_line
from rootsys_dagster.core.pointer import is_index, tokens
from rootsys_dagster.core.ports import PayloadKind
from rootsys_dagster.core.rest_config import RestConfig
from rootsys_dagster.drivers.rest.body import Response
from rootsys_dagster.drivers.rest.errors import shown

BOM: Final = b"\xef\xbb\xbf"
REFUSALS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
NOTHING: Final = frozenset({b"", b"null", b"false", b'""', b"[]", b"{}", b"0"})

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_raw = msgspec.json.Decoder(msgspec.Raw).decode


class Document:
    """A JSON text, looked into without being taken apart. Positions are found by skipping, never by rewriting.

    Raises:
        msgspec.MsgspecError: it is no JSON text.
    """

    def __init__(self, text: bytes) -> None:
        self._root = text.removeprefix(BOM).strip()
        # Each way of decoding checks the syntax of all that it skips.
        self._members = _members(self._root) if self._root.startswith(b"{") else None
        self._elements = _elements(self._root) if self._root.startswith(b"[") else None
        if self._members is None and self._elements is None:
            _raw(self._root)
        self.is_one_line = b"\n" not in self._root and b"\r" not in self._root

    def at(self, path: Sequence[str]) -> bytes | None:
        """The bytes of the value that *path* leads to, None when it leads nowhere."""
        here = self._root
        for number, step in enumerate(path):
            if here.startswith(b"{"):
                members = self._members if number == 0 and self._members is not None else _members(here)
                found = members.get(step)
            elif here.startswith(b"[") and is_index(step):
                elements = _elements(here)
                found = elements[int(step)] if int(step) < len(elements) else None
            else:
                found = None
            if found is None:
                return None
            here = bytes(found).strip()
        return here


@dataclass(frozen=True, slots=True)
class Page:
    """What one response comes to.

    Attributes:
        document: None when the response is no JSON.
    """

    units: list[bytes]
    kind: PayloadKind
    document: Document | None


def parse_page(config: RestConfig, method: str, response: Response) -> Page:
    """The units of *response*, by ``response_format`` and, where that is unknown, by its Content-Type first.

    Source: spec/1-reference.md 1.8; what is no data at all is a failure here and never an empty page.

    Raises:
        PermanentError: the body is not what the interface file says, or says itself that the request failed.
    """
    where = f"{method} {shown(response.url)}"
    if response.status == 204:
        return Page([], "json", None)
    needs_json = config.response_format == "json" or config.items_pointer is not None or config.pagination is not None
    wanted = "json" if needs_json else config.response_format
    if not response.body.strip() and wanted != "binary":
        message = f"{where}: HTTP {response.status} with an empty body, which is no data; ask who runs the source"
        raise PermanentError(message, code="REST.BODY_EMPTY")
    content_type = response.headers.get("content-type", "").lower()
    if wanted == "json" and "html" in content_type:
        message = f"{where}: HTTP {response.status} with an HTML page where JSON is expected; is there a sign-in page?"
        raise PermanentError(message, code="REST.BODY_HTML")
    kind, document = _look(wanted, content_type, response.body, where)
    if document is None:
        return Page([response.body], kind, None)
    return Page(_units(config, document, where), "json", document)


def _look(wanted: PayloadFormat, content_type: str, body: bytes, where: str) -> tuple[PayloadKind, Document | None]:
    if wanted == "json" or (wanted == "unknown" and _is_json(content_type)):
        try:
            return "json", Document(body)
        except REFUSALS as error:
            message = (
                f"{where}: the body is not valid JSON; see it with another client, or set driver.rest.response_format"
            )
            raise PermanentError(message, code="REST.BODY_NOT_JSON") from error
    if wanted == "text" or (wanted == "unknown" and content_type.startswith("text/")):
        return "text", None
    if wanted == "binary":
        return "binary", None
    try:
        return "json", Document(body)
    except REFUSALS:
        pass
    try:
        body.decode()
    except UnicodeDecodeError:
        return "binary", None
    return "text", None


def _is_json(content_type: str) -> bool:
    return "application/json" in content_type or "text/json" in content_type


def _units(config: RestConfig, document: Document, where: str) -> list[bytes]:
    if config.error_pointer is not None and (document.at(tokens(config.error_pointer)) or b"") not in NOTHING:
        message = f"{where}: the response says at {config.error_pointer} that the request failed"
        raise PermanentError(message, code="REST.ERROR_BODY")
    target = document.at(tokens(config.items_pointer) if config.items_pointer is not None else ())
    if target is None or (config.items_pointer is not None and target == b"null"):
        hint = "; it has a member 'error'" if document.at(("error",)) is not None else ""
        message = f"{where}: the response has nothing at driver.rest.items_pointer {config.items_pointer}{hint}"
        raise PermanentError(message, code="REST.ITEMS_MISSING")
    if not target.startswith(b"["):
        return [one_line(target)]
    items = map(bytes, _elements(target))
    return list(items if document.is_one_line else map(one_line, items))
