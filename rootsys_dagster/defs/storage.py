"""Where Dagster itself keeps runs, events and logs: SQLite below the project by default, PostgreSQL by one variable."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import make_url

POSTGRES_URL_VARIABLE = "ROOTSYS_DAGSTER_POSTGRES_URL"
DEFAULT_FOLDER = ".dagster"
CONFIG = {"base_dir": dg.Field(dg.StringSource, is_required=False, default_value=DEFAULT_FOLDER)}


def home_path(folder: str) -> str:
    """*folder* as an absolute path; a relative one starts at ``DAGSTER_HOME``, or at the current folder without it.

    Dagster would start it at the current folder always, so that a command typed elsewhere would begin a new history.
    """
    return str(Path(os.environ.get("DAGSTER_HOME") or Path.cwd(), folder).absolute())


def psycopg2_url(url: str) -> str:
    """*url* with the driver spelled out: newer SQLAlchemy takes a bare ``postgresql://`` to mean another driver."""
    return make_url(url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


class EnvStorage(DagsterSqliteStorage):
    """One dagster.yaml for both databases; the URL is read where the storage is opened and stands in no file."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return CONFIG

    @classmethod
    def from_config_value(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> DagsterStorage:
        url = os.environ.get(POSTGRES_URL_VARIABLE)
        if url:
            from dagster_postgres import DagsterPostgresStorage

            return DagsterPostgresStorage(psycopg2_url(url), inst_data=inst_data)
        return cls.from_local(home_path(config_value["base_dir"]), inst_data)


class HomeArtifacts(LocalArtifactStorage):
    """The handles that ops pass to each other, below the same folder as the history."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return CONFIG

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> LocalArtifactStorage:
        return cls(home_path(config_value["base_dir"]), inst_data)


class HomeComputeLogs(LocalComputeLogManager):
    """What runs print, below the same folder as the history."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return CONFIG

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> LocalComputeLogManager:
        return cls(home_path(f"{config_value['base_dir']}/storage"), inst_data=inst_data)
