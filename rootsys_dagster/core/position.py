"""Where to resume: an opaque JSON object owned by the driver that wrote it. Nobody else looks inside."""

from typing import Any, TypeAlias

Position: TypeAlias = dict[str, Any]
"""JSON members only, small (below some kilobytes), e.g. ``{"files": {"data/mes.jsonl": {"byte": 700, "line": 2}}}``."""
