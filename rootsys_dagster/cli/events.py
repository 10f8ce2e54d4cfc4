"""The event lines and sums that a run prints on standard output. Source: spec/1-reference.md 1.13."""

from dataclasses import dataclass, field
from typing import Any

from rootsys_dagster.cli.output import event, say
from rootsys_dagster.cli.streams import without_hashes
from rootsys_dagster.log.manifest import Counts, Manifest


def units(counts: Counts) -> int:
    """The units that had something in them: all but blank lines."""
    return counts.fetched - counts.skipped.get("blank", 0)


@dataclass(slots=True)
class Totals:
    """The sums over all runs of one command. With *lines* they are told in the words of the reference too."""

    lines: bool
    runs: int = 0
    counts: Counts = field(default_factory=Counts)

    def add(self, source: str, counts: Counts, **more: Any) -> None:
        """One run has ended; *more* goes into its event."""
        self.runs += 1
        self.counts.add(counts)
        if self.lines:
            say(f"run {self.runs}: records={counts.accepted} | dead_letters={counts.dead_letters}")
        event(
            "run_summary",
            {
                "run_index": self.runs,
                "source": source,
                "input_records": units(counts),
                "integration_records": counts.accepted,
                "dlq_records": counts.dead_letters,
                **more,
            },
        )

    def finish(self) -> None:
        """All runs have ended."""
        sums = self.counts
        if self.lines:
            runs = f"total runs: {self.runs}"
            say(f"{runs} | total records: {sums.accepted} | total dead_letters: {sums.dead_letters}")
        event(
            "pipeline_metrics",
            {
                "runs_total": self.runs,
                "input_records_total": units(sums),
                "integration_records_total": sums.accepted,
                "dlq_records_total": sums.dead_letters,
            },
        )


def commit_event(manifest: Manifest) -> None:
    """One commit was made."""
    event(
        "commit",
        {
            "interface": manifest.interface,
            "version": manifest.version,
            "seq": manifest.seq,
            "run_id": manifest.run_id,
            "mode": manifest.mode,
            "records": manifest.counts.accepted,
            "dead_letters": manifest.counts.dead_letters,
            "duplicates": manifest.counts.duplicates,
            "skipped": manifest.counts.skipped,
            "reasons": manifest.counts.reasons,
            "position": without_hashes(manifest.end),
        },
    )
