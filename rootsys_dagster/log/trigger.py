"""Who asked for what runs now, kept with each commit: ``schedule:NAME``, ``sensor:NAME``, ``manual``, ``cli:USER``.

Around a run and not handed through it: whoever starts a run knows, nothing between there and the commit has to.
"""

import getpass
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_trigger: ContextVar[str | None] = ContextVar("rootsys_trigger", default=None)


def user_name() -> str | None:
    """Who is logged in, None where the system knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def triggered_by() -> str | None:
    """Who asked; None when nobody has said so."""
    return _trigger.get()


@contextmanager
def asked_by(trigger: str) -> Generator[None]:
    """What is committed in this block was asked for by *trigger*; inside another block: by that, through this one."""
    outer = _trigger.get()
    token = _trigger.set(trigger if outer is None else f"{outer} > {trigger}")
    try:
        yield
    finally:
        _trigger.reset(token)
