"""Text lines: one record per line that is not blank, inner and outer spaces kept."""

from rootsys_dagster.core.registry import DRIVERS
from rootsys_dagster.drivers.lines import LineDriver


@DRIVERS.register("text")
class TextDriver(LineDriver):
    """Reads files from the last committed byte to their last complete line."""

    unit_kind = "text"
    content_type = "text/plain"
