"""What a database says when it refuses, as one of our errors: by SQLSTATE, errno or result code, never by its text.

The texts of databases quote rows, parameters and connection strings, so none of them is ever passed on.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final, Literal

from rootsys_dagster.core.errors import ConfigError, PermanentError, RootsysError, TransientError

What = Literal["config", "transient", "permanent"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the caller should do about one kind of refusal."""

    what: What
    code: str
    advice: str

    def error(self, where: str, detail: str) -> RootsysError:
        """The error itself; *detail* holds codes and names of conditions only."""
        message = f"{where}: {detail}; {self.advice}"
        match self.what:
            case "config":
                return ConfigError(message, code=self.code)
            case "transient":
                return TransientError(message, code=self.code)
            case "permanent":
                return PermanentError(message, code=self.code)


LOST = Verdict("transient", "DB.CONNECTION_LOST", "the connection broke; nothing was lost, run it again")
BUSY = Verdict("transient", "DB.BUSY", "the database is busy or short of something; run it again later")
RESTARTS = Verdict("transient", "DB.RESTARTING", "the server is going down or coming up; run it again later")
CONFLICT = Verdict("transient", "DB.CONFLICT", "it was in the way of another transaction; run it again")
LOCKED = Verdict("transient", "DB.LOCK_TIMEOUT", "another transaction holds a lock; run it again later")
TIMEOUT = Verdict(
    "transient",
    "DB.STATEMENT_TIMEOUT",
    "the server ended the statement; raise driver.db.statement_timeout_ms, or read less at once",
)
SIGN_IN = Verdict("config", "DB.SIGN_IN_REFUSED", "check user, password and what they may do in this database")
MISSING = Verdict("config", "DB.NOT_FOUND", "check the names in driver.db: database, table, columns, functions")
QUERY = Verdict("config", "DB.QUERY_INVALID", "mend driver.db.query; it must be one SELECT")
WRITES = Verdict("config", "DB.QUERY_WRITES", "only reading is allowed; mend driver.db.query")
VALUES = Verdict("permanent", "DB.VALUE_REFUSED", "the query fails on the values of a row; mend the query or the row")
BROKEN = Verdict("permanent", "DB.FAILED", "the log of the server says more")
TLS = Verdict(
    "config",
    "DB.TLS_REFUSED",
    "the encrypted connection could not be made as asked; check driver.db.postgres_tls_mode and ca_file",
)

# The longest prefix decides. Source: spec/1-reference.md 1.9 and appendix A of the PostgreSQL manual.
SQLSTATES: Final[dict[str, Verdict]] = {
    "08": LOST,
    "0A": QUERY,
    "22": VALUES,
    "22P05": VALUES,
    "23": VALUES,
    "25": WRITES,
    "25P03": LOST,
    "28": SIGN_IN,
    "2BP01": MISSING,
    "3D": MISSING,
    "3F": MISSING,
    "40": CONFLICT,
    "42": QUERY,
    "42501": SIGN_IN,
    "42883": MISSING,
    "42P01": MISSING,
    "42703": MISSING,
    "42704": MISSING,
    "53": BUSY,
    "54": VALUES,
    "55": BUSY,
    "55P03": LOCKED,
    "57": RESTARTS,
    "57014": TIMEOUT,
    "58": BROKEN,
}

# Source: spec/1-reference.md 1.9 and the error references of MySQL 8 and MariaDB 10.
ERRNOS: Final[dict[int, Verdict]] = {
    1040: BUSY,
    1044: SIGN_IN,
    1045: SIGN_IN,
    1049: MISSING,
    1053: RESTARTS,
    1054: MISSING,
    1060: QUERY,
    1064: QUERY,
    1142: SIGN_IN,
    1143: SIGN_IN,
    1146: MISSING,
    1203: BUSY,
    1205: LOCKED,
    1213: CONFLICT,
    1226: BUSY,
    1305: MISSING,
    1317: TIMEOUT,
    1690: VALUES,
    1698: SIGN_IN,
    1792: WRITES,
    1927: LOST,
    1969: TIMEOUT,
    2002: LOST,
    2003: LOST,
    2006: LOST,
    2013: LOST,
    2014: LOST,
    2026: TLS,
    2055: LOST,
    3024: TIMEOUT,
    4031: LOST,
}

RESULT_CODES: Final[dict[int, Verdict]] = {
    sqlite3.SQLITE_ERROR: QUERY,
    sqlite3.SQLITE_PERM: SIGN_IN,
    sqlite3.SQLITE_BUSY: BUSY,
    sqlite3.SQLITE_LOCKED: BUSY,
    sqlite3.SQLITE_READONLY: WRITES,
    sqlite3.SQLITE_INTERRUPT: TIMEOUT,
    sqlite3.SQLITE_CANTOPEN: MISSING,
    sqlite3.SQLITE_AUTH: WRITES,
    sqlite3.SQLITE_TOOBIG: VALUES,
    sqlite3.SQLITE_MISMATCH: VALUES,
}


def by_sqlstate(sqlstate: str | None) -> Verdict:
    """The verdict on a SQLSTATE; without one the connection itself failed."""
    if sqlstate is None:
        return LOST
    return next((SQLSTATES[sqlstate[:n]] for n in range(5, 1, -1) if sqlstate[:n] in SQLSTATES), BROKEN)


def by_errno(errno: int) -> Verdict:
    """The verdict on an error number of MySQL or MariaDB."""
    return ERRNOS.get(errno, BROKEN)


def by_result_code(code: int | None) -> Verdict:
    """The verdict on a result code of SQLite, extended or not."""
    return RESULT_CODES.get((code or 0) & 0xFF, BROKEN)
