"""One dead letter for people: what it is, where it came from, and its payload with what is wrong marked in it."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec

from rootsys_dagster.cli.streams import place
from rootsys_dagster.core.pointer import escape
from rootsys_dagster.core.record import Message
from rootsys_dagster.log.letters import Letter
from rootsys_dagster.pipeline.exact_json import NotJsonError, Number, parse
from rootsys_dagster.pipeline.replay import replayed_batch
from rootsys_dagster.secrets import redact

INDENT = "  "
MAX_LINES = 400
MAX_TEXT = 2000


def letter_text(letter: Letter, line: bytes) -> Iterator[str]:
    """The lines of one dead letter."""
    about = {
        "id": letter.id,
        "state": _state(letter),
        "source": f"{letter.locator or 'unknown'} at {place(msgspec.json.decode(letter.position)) or 'no place'}",
        "rejected": f"commit {letter.commit_seq}, run {letter.run_id}",
        "attempts": f"{letter.attempts}, last in commit {letter.last_seq}, run {letter.last_run_id}",
    }
    yield from (f"{name:9} {text}" for name, text in about.items())
    errors = msgspec.json.decode(letter.errors, type=list[Message])
    for error in errors:
        yield f"{'error':9} {error.code} {error.path or ''}: {error.message}"
    yield ""
    for count, text in enumerate(payload_text(replayed_batch(line).units[0], errors)):
        if count == MAX_LINES:
            yield "…"
            return
        yield redact(text)


def _state(letter: Letter) -> str:
    match letter.state:
        case "replayed":
            return f"replayed: record {letter.record_id} in commit {letter.last_seq}"
        case "discarded":
            return f"discarded by {letter.decided_by} in commit {letter.last_seq}: {letter.note}"
        case state:
            return state


def payload_text(unit: bytes, errors: Sequence[Message]) -> Iterator[str]:
    """The payload over several lines, each error behind its place; what is missing, behind the owner."""
    try:
        document = parse(unit)
    except NotJsonError:
        shown = unit[:MAX_TEXT].decode(errors="backslashreplace")
        yield shown + ("…" if len(unit) > MAX_TEXT else "")
        return
    lines = list(_lines(document, "", "", ""))
    places = {pointer for pointer, _ in lines}
    marks: dict[str, list[str]] = {}
    for error in errors:
        at = error.path if error.path is not None and error.path.startswith("/") else ""
        missing = at
        while at not in places:
            at = at.rpartition("/")[0]
        text = error.code if at == missing else f"{error.code} {missing[len(at) :]}"
        marks.setdefault(at, []).append(text)
    for pointer, text in lines:
        # A closing bracket has the place of its value too: the mark stands where the value begins.
        found = marks.pop(pointer, None)
        yield f"{text}   ◀ {', '.join(found)}" if found else text


def _lines(value: Any, pointer: str, indent: str, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        members = cast(dict[str, Any], value)
        items = [(escape(key), f"{json.dumps(key, ensure_ascii=False)}: ", item) for key, item in members.items()]
        yield from _block("{}", items, pointer, indent, name)
    elif isinstance(value, list) and value:
        yield from _block("[]", [(str(n), "", item) for n, item in enumerate(value)], pointer, indent, name)
    else:
        text = str(value) if isinstance(value, Number) else json.dumps(value, ensure_ascii=False)
        yield pointer, f"{indent}{name}{text}"


def _block(
    brackets: str, items: Sequence[tuple[str, str, Any]], pointer: str, indent: str, name: str
) -> Iterator[tuple[str, str]]:
    yield pointer, f"{indent}{name}{brackets[0]}"
    for step, label, item in items:
        *most, (last, text) = _lines(item, f"{pointer}/{step}", indent + INDENT, label)
        yield from most
        yield last, text + ("," if item is not items[-1][2] else "")
    yield pointer, f"{indent}{brackets[1]}"
