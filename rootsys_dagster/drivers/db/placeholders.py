"""``{name}`` in a query: where it stands free, or alone between quotes, the value of a watermark is bound there."""

import re
from collections.abc import Mapping
from typing import Final

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.drivers.db.session import Fragment, Value

NAME: Final = r"\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}"
QUOTED: Final = NAME.replace("name", "quoted")
NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
# What is text or comment in the dialects that are read here: nothing in it is a placeholder.
PLAIN_TEXT: Final = r"'(?:[^']|'')*'"
BACKSLASH_TEXT: Final = r"'(?:[^'\\]|\\.|'')*'"


def _tokens(text: str) -> re.Pattern[str]:
    opaque = rf"""{text} | "(?:[^"]|"")*" | `(?:[^`]|``)*` | --[^\n]* | /\*.*?\*/ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$"""
    return re.compile(rf"'{QUOTED}' | {NAME} | (?P<opaque> {opaque} )", re.VERBOSE | re.DOTALL)


TOKENS: Final = {
    "sqlite": _tokens(PLAIN_TEXT),
    "postgres": _tokens(rf"[eE]{BACKSLASH_TEXT} | {PLAIN_TEXT}"),
    "mysql": _tokens(BACKSLASH_TEXT),
}
HIDDEN: Final = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")


def bind(query: str, values: Mapping[str, str | None], kind: str, literal: frozenset[str] = frozenset()) -> Fragment:
    """*query* with the values of its placeholders bound, or written into it where *literal* names them.

    Raises:
        ConfigError: a placeholder has no watermark, or stands in a text or comment, where nothing can be bound.
    """
    text = query.strip().rstrip(";")
    for name in literal & values.keys():
        text = text.replace(f"{{{name}}}", values[name] or "NULL")
    pieces: list[str | Value] = []
    end = 0
    for match in TOKENS[kind].finditer(text):
        if match["opaque"] is not None:
            _refuse_hidden(match["opaque"], values)
            continue
        name = match["name"] or match["quoted"]
        if match["quoted"] is not None and name not in values:
            # PostgreSQL writes arrays like this.
            continue
        if name not in values:
            listed = ", ".join(values) or "none"
            message = f"driver.db.query: {{{name}}} is no watermark of this interface; there are: {listed}"
            raise ConfigError(message, code="WATERMARK.UNKNOWN")
        value = values[name]
        is_number = match["quoted"] is None and value is not None and NUMBER.fullmatch(value) is not None
        pieces += [text[end : match.start()], Value(value, is_number)]
        end = match.end()
    return tuple(piece for piece in (*pieces, text[end:]) if piece != "")


def without_texts(query: str, kind: str) -> str:
    """*query* with its texts, quoted names and comments taken out."""
    return TOKENS[kind].sub(lambda match: match[0] if match["opaque"] is None else " ", query)


def _refuse_hidden(opaque: str, values: Mapping[str, str | None]) -> None:
    hidden = next((match[0] for match in HIDDEN.finditer(opaque) if match[0][1:-1] in values), None)
    if hidden is not None:
        raise ConfigError(
            f"driver.db.query: {hidden} stands inside a text or comment, where no value can be bound; take it out of "
            'the text, or set "literal" of that watermark to true',
            code="WATERMARK.NOT_BINDABLE",
        )
