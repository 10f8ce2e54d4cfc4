"""JSON lines: one JSON value per line. A line that is not JSON is a dead letter later, never an error here."""

from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.drivers.lines import LineDriver


@DRIVERS.register("jsonl")
class JsonlDriver(LineDriver):
    """Reads files from the last committed byte to their last complete line."""

    unit_kind = "json"
    content_type = "application/x-ndjson"
