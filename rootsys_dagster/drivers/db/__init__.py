"""SQLite, PostgreSQL, MySQL and MariaDB: one record per row."""

from rootsys_dagster.drivers.db.driver import DbDriver

__all__ = ["DbDriver"]
