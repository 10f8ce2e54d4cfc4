"""Secrets: references become values at the moment of use, and every value that was given out is known, to be masked."""

import base64
import html
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.secret_ref import EMBEDDED, SecretRef, secret_ref

MASK: Final = "***"
MAX_SECRET_BYTES: Final = 64 << 10
SHORTEST_MASKED: Final = 4
"""A shorter value would be found by chance in any text."""
HOSTS_SUFFIX: Final = "_HOSTS"
IN_QUERY: Final = "-._~:@!$'()*,;/?"
"""What stays as it is in the query of a request."""

_given_out: set[str] = set()


class Secrets:
    """The secrets that interface files may name: environment variables, and files below *root*."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.given_out: set[str] = set()
        """What this interface has used: a source must not give it back as data."""

    def value(self, text: str, what: str, host: str | None = None) -> str:
        """What *text* stands for: the value of a reference, or a literal itself.

        Args:
            what: the member of the interface file, for messages.
            host: where the value is going to be sent. A secret may be bound to hosts: ``NAME_HOSTS`` beside the
                variable ``NAME``, or ``path.hosts`` beside the file, holds their names, separated by commas.
        Raises:
            ConfigError: the secret is not there, is empty, or is not for *host*.
        """
        reference = secret_ref(text)
        if reference is None:
            found = text
        else:
            found = self._read(reference, what)
            self._check_host(reference, what, host)
        self.remember(found)
        return found

    def filled(
        self, text: str, what: str, host: str | None = None, encode: Callable[[str], str] = lambda value: value
    ) -> str:
        """*text* with each ``${NAME}`` in it replaced by its value; a reference as a whole is resolved too.

        Args:
            encode: how a value is written inside the text, see :meth:`value` for the rest.
        Raises:
            ConfigError: see :meth:`value`.
        """
        if secret_ref(text) is not None:
            return self.value(text, what, host)
        return EMBEDDED.sub(lambda match: encode(self.value(match[0], what, host)), text)

    def remember(self, value: str) -> None:
        """Mask *value* from now on: a literal, a token, or what was made from a secret."""
        if len(value) >= SHORTEST_MASKED:
            self.given_out.add(value)
            remember(value)

    def _read(self, reference: SecretRef, what: str) -> str:
        found = os.environ.get(reference.name) if reference.kind == "env" else self._read_file(reference, what)
        if not found:
            state = "is not set" if found is None else "is empty"
            where = "set the variable" if reference.kind == "env" else f"put it into a file below {self.root}"
            raise ConfigError(f"{what}: secret {reference} {state}; {where}", code="SECRET.MISSING")
        return found

    def _read_file(self, reference: SecretRef, what: str) -> str | None:
        path = (self.root / reference.name).resolve()
        if not path.is_relative_to(self.root.resolve()):
            message = f"{what}: secret {reference} lies outside of {self.root}; put the file there"
            raise ConfigError(message, code="SECRET.OUTSIDE_ROOT")
        try:
            with path.open("rb") as stream:
                # An editor ends a file with a line feed that is no part of the secret.
                return stream.read(MAX_SECRET_BYTES).decode().removesuffix("\n").removesuffix("\r")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"{what}: secret {reference} cannot be read: {reason}", code="SECRET.MISSING") from None

    def _check_host(self, reference: SecretRef, what: str, host: str | None) -> None:
        if reference.kind == "env":
            listed = os.environ.get(reference.name + HOSTS_SUFFIX)
        else:
            listed = self._read_file(SecretRef("file", f"{reference.name}.hosts"), what)
        if listed is None or host is None:
            return
        if host.lower() not in {name.strip().lower() for name in listed.replace("\n", ",").split(",")}:
            message = f"{what}: secret {reference} is not for host {host}; its list of hosts names those it may go to"
            raise ConfigError(message, code="SECRET.HOST_NOT_ALLOWED")


def remember(value: str) -> None:
    """Mask *value* from now on wherever :func:`redact` is applied, in this process."""
    if len(value) >= SHORTEST_MASKED and value not in _given_out:
        _given_out.add(value)
        _masked.cache_clear()


def redact(text: str) -> str:
    """*text* without any secret that was given out, in clear or in a usual encoding."""
    for form in _masked():
        if form in text:
            text = text.replace(form, MASK)
    return text


def encodings(value: str) -> tuple[str, ...]:
    """*value* as it may turn up elsewhere: encoded for a URL or a form, in JSON or HTML, in base64."""
    data = value.encode()
    forms = {
        value,
        quote(value, safe=""),
        quote(value),
        quote(value, safe=IN_QUERY),
        quote_plus(value),
        html.escape(value),
        json.dumps(value)[1:-1],
        # As PHP writes it.
        json.dumps(value)[1:-1].replace("/", "\\/"),
        json.dumps(value, ensure_ascii=False)[1:-1],
        base64.b64encode(data).decode(),
        base64.urlsafe_b64encode(data).decode(),
        base64.b64encode(data).decode().rstrip("="),
        data.hex(),
    }
    return tuple(form for form in forms if len(form) >= SHORTEST_MASKED)


@cache
def _masked() -> tuple[str, ...]:
    # The longest first: what is masked must not leave the end of a longer form behind.
    return tuple(sorted({form for value in _given_out for form in encodings(value)}, key=len, reverse=True))
