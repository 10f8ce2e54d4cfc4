"""Dead-letter sinks: followers of the commit log. A sink is imported when somebody asks for its kind."""

from typing import Final

from rootsys_dagster.core.registry import SINKS

KINDS: Final = ("file", "sqlite", "postgres", "kafka")
"""Each in the module of its name: the client of a server costs nothing to those who do not need it."""

for _kind in KINDS:
    SINKS.provide(_kind, f"{__name__}.{_kind}")
