"""Rows of the two sample systems: defects from a manufacturing execution system, claims from quality management.

Row numbers start at 1. Claim i is about defect i, so the two systems overlap in ``defect_id``.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from rootsys_dagster.core.errors import ConfigError

MES_COUNT_VARIABLE = "ROOTSYS_MES_ROW_COUNT"
QMS_COUNT_VARIABLE = "ROOTSYS_QMS_ROW_COUNT"
DEFAULT_ROWS = 200

Row = dict[str, str | int]


def mes_rows(count: int = DEFAULT_ROWS) -> Iterator[Row]:
    """The first *count* defects: ``DEF-1001`` of ``LOT-77`` onwards, even ones cracks, odd ones scratches."""
    for i in range(1, count + 1):
        yield {
            "defect_id": f"DEF-{1000 + i}",
            "lot_id": f"LOT-{76 + i}",
            "equipment_id": f"EQ-{i % 12 + 1:02d}",
            "occurred_at": f"2026-02-14T09:{i % 60:02d}:00Z",
            "defect_code": "CRACK" if i % 2 == 0 else "SCRATCH",
            "notes": f"sample defect {i}",
        }


def qms_rows(count: int = DEFAULT_ROWS) -> Iterator[Row]:
    """The first *count* claims: ``CLAIM-9001`` about ``DEF-1001`` onwards, severity 1 to 5."""
    for i in range(1, count + 1):
        yield {
            "claim_id": f"CLAIM-{9000 + i}",
            "defect_id": f"DEF-{1000 + i}",
            "severity": i % 5 + 1,
            "description": f"sample claim {i}",
            "created_at": f"2026-02-14T10:{i % 60:02d}:00Z",
        }


def jsonl(rows: Iterable[Row]) -> bytes:
    """The rows as JSON Lines, members in the order in which the rows have them."""
    return b"".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for row in rows)


def row_count(variable: str, environment: Mapping[str, str]) -> int:
    """How many rows an environment variable asks for; 200 when it is unset or empty.

    Raises:
        ConfigError: it is not a whole number from 1 to 999999999.
    """
    text = environment.get(variable, "").strip()
    if not text:
        return DEFAULT_ROWS
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise ConfigError(f"{variable} is {text!r}; it must be a whole number from 1 to 999999999")
    return int(text)
