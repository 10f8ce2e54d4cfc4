"""References to secrets: what a file says instead of the secret itself."""

import re
from dataclasses import dataclass
from typing import Final, Literal

NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
REFERENCE: Final = re.compile(
    rf"(?:env://|secrets://)(?P<named>{NAME})|\$(?P<bare>{NAME})|\$\{{(?P<braced>{NAME})\}}|file://(?P<file>[^\s\0]+)"
)
EMBEDDED: Final = re.compile(rf"\$\{{(?P<name>{NAME})\}}")
PASSWORD: Final = re.compile(r"://[^/@\s]*?:(?P<url>[^@/\s]+)@|\bpass(?:word|wd)\s*=\s*(?P<pair>'[^']*'|\S+)")


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is kept: an environment variable, or a file below the secrets root."""

    kind: Literal["env", "file"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind}://{self.name}"


def secret_ref(text: str) -> SecretRef | None:
    """The reference that *text* is as a whole, None when it is a literal.

    ``env://NAME`` and ``file://path``; ``$NAME``, ``${NAME}`` and ``secrets://NAME`` are other ways to write the first.
    """
    match = REFERENCE.fullmatch(text)
    if match is None:
        return None
    if match["file"] is not None:
        return SecretRef("file", match["file"])
    return SecretRef("env", match["named"] or match["bare"] or match["braced"])


def has_secret_ref(text: str) -> bool:
    """Whether *text* is a reference or holds one as ``${NAME}``, as a connection string does."""
    return secret_ref(text) is not None or EMBEDDED.search(text) is not None


def passwords_in(connection: str) -> list[str]:
    """What stands for a password in a URL or in ``host=… user=…``: itself, or a reference to it."""
    return [match["url"] or match["pair"] for match in PASSWORD.finditer(connection)]
