"""What can go wrong, sorted by what the caller should do: fix a file, wait, call a person, or set one record aside."""

from collections.abc import Sequence
from dataclasses import dataclass


class RootsysError(Exception):
    """Every error that this product raises on purpose; anything else is a bug and is allowed to crash."""

    default_code = "ROOTSYS.FAILED"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code

    def __str__(self) -> str:
        return self.message


class ConfigError(RootsysError):
    """A file or a setting is wrong: fix it. Never retried."""

    default_code = "CONFIG.INVALID"


class TransientError(RootsysError):
    """The other side is busy or away: wait and try again, *retry_after_s* seconds when it said how long."""

    default_code = "TRANSIENT.UNAVAILABLE"

    def __init__(self, message: str, *, retry_after_s: float | None = None, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = retry_after_s


class PermanentError(RootsysError):
    """Trying again changes nothing and no file of ours is wrong: call a person."""

    default_code = "PERMANENT.FAILED"


class FencedError(PermanentError):
    """Another run committed first; nothing was lost, run it again."""

    default_code = "LOG.FENCED"


class LogDamagedError(PermanentError):
    """The commit log on disk is not what was written: stop and verify, never start from zero."""

    default_code = "LOG.DAMAGED"


class SourceGapError(PermanentError):
    """The source no longer has what comes next: nothing is skipped unless a person says so."""

    default_code = "SOURCE.GAP"


class RefusedError(PermanentError):
    """A person has paused it, or a budget is used up: nothing was read, and nothing is wrong with any file."""

    default_code = "CONTROLS.HELD"


class DataError(RootsysError):
    """This unit only: becomes a dead letter and never leaves pipeline/.

    Args:
        pointer: JSON Pointer of the member at fault; None when the unit as a whole is.
    """

    def __init__(self, code: str, pointer: str | None, message: str) -> None:
        super().__init__(message, code=code)
        self.pointer = pointer


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to fix in one file; the pointer is empty when the file as a whole is at fault."""

    code: str
    pointer: str
    message: str

    def __str__(self) -> str:
        text = f"{self.pointer or '(file)'}: {self.message} [{self.code}]"
        # A file may name a member with the escapes of a terminal.
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class InvalidFileError(ConfigError):
    """A file that was read and is wrong, with every problem of it at once."""

    default_code = "CONFIG.FILE_INVALID"

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{path}: {count}", *(f"- {problem}" for problem in self.problems)]))

    def __reduce__(self) -> tuple[type["InvalidFileError"], tuple[str, tuple[Problem, ...]]]:
        return type(self), (self.path, self.problems)
