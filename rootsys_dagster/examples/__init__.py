"""The example project: what ``rootsys init`` writes and what stands at the top of this repository.

Its fixed files lie in ``project/`` beside this module; the samples are generated, the JSON Schemas made
from the models.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from rootsys_dagster.core.errors import ConfigError
from rootsys_dagster.core.schema import SCHEMAS, schema_text
from rootsys_dagster.examples.samples import (
    MES_COUNT_VARIABLE,
    QMS_COUNT_VARIABLE,
    jsonl,
    mes_rows,
    qms_rows,
    row_count,
)

__all__ = ["example_files", "mes_rows", "qms_rows", "write_example_project"]

PROJECT = Path(__file__).parent / "project"


def example_files(environment: Mapping[str, str]) -> dict[str, bytes]:
    """Every file of the example project by its path inside it, sorted; nothing is written.

    Args:
        environment: ``ROOTSYS_MES_ROW_COUNT`` and ``ROOTSYS_QMS_ROW_COUNT`` set the size of the samples.
    Raises:
        ConfigError: a row count is not a whole number from 1 to 999999999.
    """
    files = {path.relative_to(PROJECT).as_posix(): path.read_bytes() for path in PROJECT.rglob("*") if path.is_file()}
    files["data/mes.jsonl"] = jsonl(mes_rows(row_count(MES_COUNT_VARIABLE, environment)))
    files["data/qms.jsonl"] = jsonl(qms_rows(row_count(QMS_COUNT_VARIABLE, environment)))
    files |= {f"contracts/schemas/{name}": schema_text(model).encode() for name, model in SCHEMAS.items()}
    return dict(sorted(files.items()))


def write_example_project(
    folder: Path, *, environment: Mapping[str, str] | None = None, overwrite: bool = False
) -> list[Path]:
    """Write the example project into *folder*, which may exist already.

    Args:
        environment: where the row counts come from; None for the environment of this process.
        overwrite: replace files that are there; otherwise one of them stops everything before the first write.
    Returns:
        What was written, sorted.
    Raises:
        ConfigError: a file is in the way, a row count is wrong, or the folder cannot be written.
    """
    contents = example_files(os.environ if environment is None else environment)
    files = {folder / name: data for name, data in contents.items()}
    in_the_way = [str(path) for path in files if os.path.lexists(path)]
    if in_the_way and not overwrite:
        raise ConfigError(f"{folder} already has {', '.join(in_the_way)}; choose a folder without them")
    try:
        for path, data in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return list(files)
