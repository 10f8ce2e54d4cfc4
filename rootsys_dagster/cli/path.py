"""Paths as they are typed on the command line."""

import errno
import os
from pathlib import Path
from typing import Any

import click

from rootsys_dagster.core.spelling import shown

NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class PathOption(click.Path):
    """A path that can be looked up, whether something is there or not. What is there is for the command to judge."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = os.fsdecode(value)
        if not text:
            self.fail("an empty text names no file", param, ctx)
        try:
            Path(text).stat()
        except OSError as error:
            if error.errno not in NOTHING_THERE:
                self.fail(
                    f"{shown(text)} cannot be looked up: {(error.strerror or 'unknown error').lower()}", param, ctx
                )
        return super().convert(value, param, ctx)


PATH = PathOption()
