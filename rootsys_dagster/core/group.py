"""The group file: what runs together, in which order, when, and whether a failure holds up the rest."""

from pydantic import ConfigDict, Field

from rootsys_dagster.core.config import Config, Findings, Positive, Text
from rootsys_dagster.core.document import parse_document
from rootsys_dagster.core.interface import Described
from rootsys_dagster.core.schedule import Schedule


class Interval(Config):
    """Again and again, with a pause between the end of one run and the next."""

    model_config = ConfigDict(json_schema_extra={"required": ["every_s"]})

    every_s: Positive = Field(description="Seconds from the end of one run to the next.")
    max_runs: Positive | None = Field(default=None, description="No more than so many runs; without end by default.")
    enabled: bool = Field(default=True, description="false keeps the interval and does not start it by itself.")

    def check(self, at: str, found: Findings) -> None:
        found.below_one("INTERVAL_EVERY_S_INVALID", f"{at}/every_s", self.every_s)
        found.below_one("INTERVAL_MAX_RUNS_INVALID", f"{at}/max_runs", self.max_runs)


class Group(Described):
    """Interfaces and fabrics that one job runs one after another. A member may be in several groups."""

    model_config = ConfigDict(json_schema_extra={"required": ["name", "members"]})

    name: Text
    members: tuple[Text, ...] = Field(
        description="Names of interfaces or fabrics, or name@version, in the order in which they run.",
        json_schema_extra={"minItems": 1, "uniqueItems": True},
    )
    stop_on_failure: bool = Field(
        default=False, description="Whether a member that fails holds up those after it; the run fails either way."
    )
    schedules: tuple[Schedule, ...] = Field(default=(), description="When to run it, by the clock.")
    interval: Interval | None = Field(default=None, description="Run it again and again.")

    def check(self, at: str, found: Findings) -> None:
        super().check(at, found)
        found.blank("GROUP_NAME_EMPTY", f"{at}/name", self.name)
        if not self.members:
            found.add("GROUP_MEMBERS_EMPTY", f"{at}/members", "needs at least one interface or fabric")
        found.blank_entries("GROUP_MEMBER_EMPTY", f"{at}/members", self.members)
        found.repeated_entries("GROUP_MEMBER_REPEATED", f"{at}/members", self.members)
        found.repeated_entries("GROUP_SCHEDULE_REPEATED", f"{at}/schedules", map(tuple, self.schedules))
        for index, schedule in enumerate(self.schedules):
            schedule.check(f"{at}/schedules/{index}", found)
        if self.interval is not None:
            self.interval.check(f"{at}/interval", found)


def parse_group(text: bytes, path: str) -> Group:
    """The group that *text* describes; *path* is for messages.

    Raises:
        InvalidFileError: with every problem of the file.
    """
    return parse_document(Group, text, path)
