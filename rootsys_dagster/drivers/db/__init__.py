"""SQLite, PostgreSQL, MySQL and MariaDB: one record per row."""
