"""What Dagster shows of commits: counts, rates, position and proof, the same for a run and for the mirror."""

import json
import warnings
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import dagster as dg

from rootsys_dagster.core.position import Position
from rootsys_dagster.defs.columns import column_schema, columns_of
from rootsys_dagster.defs.pairs import Role
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.manifest import Counts, Manifest

FIRST_SEQ = "rootsys/first_seq"
SEQ = "rootsys/seq"
MANIFEST = "rootsys/manifest"
MAX_POSITION_BYTES = 8192


def code_reference(path: Path, root: Path) -> dg.CodeReferencesMetadataValue:
    """The file behind an asset, as a link in the UI."""
    label = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
    with warnings.catch_warnings():
        # Both classes are marked as beta; they are the documented way to link an asset to its file.
        warnings.simplefilter("ignore", dg.BetaWarning)
        reference = dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=label)
        return dg.CodeReferencesMetadataValue(code_references=[reference])


def commit_tags(log: CommitLog, first_seq: int, last_seq: int) -> dict[str, str]:
    """Which commits an event tells of, and the hash by which it proves that it means these commits."""
    return {FIRST_SEQ: str(first_seq), SEQ: str(last_seq), MANIFEST: manifest_proof(log, last_seq)}


def manifest_proof(log: CommitLog, seq: int) -> str:
    """Half of the manifest's hash: enough to prove a commit, short enough for a tag."""
    return log.manifest_sha256(seq)[:32]


def data_version(log: CommitLog, seq: int) -> str:
    """Changes with a commit only: a run that found nothing new makes nothing downstream stale."""
    return f"{seq}-{manifest_proof(log, seq)[:16]}" if seq else "empty"


def summed(commits: Sequence[Manifest]) -> Counts:
    """The counts of *commits* together."""
    counts = Counts(skipped={}, reasons={}, warnings={})
    for commit in commits:
        counts.add(commit.counts)
    return counts


def outcome(counts: Counts, role: Role) -> int:
    """How many units of *counts* an asset of this role shows."""
    return {"records": counts.accepted, "dead_letters": counts.dead_letters, "duplicates": counts.duplicates}[role]


def reject_ratio(counts: Counts) -> float:
    """Dead letters among all that were judged, 0 when nothing was."""
    judged = counts.accepted + counts.dead_letters
    return counts.dead_letters / judged if judged else 0.0


def describe(log: CommitLog, role: Role, commits: Sequence[Manifest]) -> dict[str, dg.MetadataValue]:
    """Event metadata about *commits*, which are contiguous; none of them: about where the log stands."""
    newest = commits[-1] if commits else log.head()
    counts = summed(commits)
    show = dg.MetadataValue
    metadata: dict[str, dg.MetadataValue] = {
        "dagster/uri": show.url((log.folder / role).as_uri()),
        "commits": show.int(len(commits)),
        "fetched": show.int(counts.fetched),
        "accepted": show.int(counts.accepted),
        "dead_letters": show.int(counts.dead_letters),
        "duplicates": show.int(counts.duplicates),
        "skipped": show.json(counts.skipped),
        "reject_rate": show.float(round(reject_ratio(counts), 6)),
    }
    if newest is None:
        return metadata
    metadata |= {
        "dagster/row_count": show.int(outcome(newest.totals, role) - outcome(_history(log, newest), role)),
        "seq": show.int(newest.seq),
        "position": _position(newest.end),
        "manifest_sha256": show.text(log.manifest_sha256(newest.seq)),
        "committed_at": show.timestamp(datetime.fromisoformat(newest.committed_at)),
        "commit_run_id": show.text(newest.run_id),
        "mode": show.text(newest.mode),
    }
    if commits:
        elapsed_s = _seconds(commits[0].started_at, newest.committed_at)
        metadata |= {
            "source_bytes": show.int(counts.raw_bytes),
            "elapsed_s": show.float(elapsed_s),
            "units_per_s": show.float(round(counts.fetched / elapsed_s, 1) if elapsed_s else 0.0),
        }
    if newest.asked is not None:
        metadata["asked"] = show.json(newest.asked)
    if (columns := columns_of(newest)) is not None:
        metadata["dagster/column_schema"] = show.table_schema(column_schema(columns))
    if counts.reasons:
        metadata["reasons"] = _count_table("reason", counts.reasons)
    if counts.warnings:
        metadata["warnings"] = _count_table("warning", counts.warnings)
    return metadata


def _history(log: CommitLog, newest: Manifest) -> Counts:
    """What later reads have brought anew, up to *newest*."""
    return log.manifest(newest.replaced).totals if newest.replaced else Counts()


def _position(position: Position) -> dg.MetadataValue:
    """*position* for people; a source of very many files has one that is too long for an event."""
    text = json.dumps(position)
    if len(text) <= MAX_POSITION_BYTES:
        return dg.MetadataValue.json(position)
    return dg.MetadataValue.text(f"{text[:200]}… {len(text)} characters, in full in the manifest")


def _count_table(name: str, counts: dict[str, int]) -> dg.TableMetadataValue:
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dg.MetadataValue.table(
        [dg.TableRecord({name: code, "count": count}) for code, count in rows],
        schema=dg.TableSchema([dg.TableColumn(name, "string"), dg.TableColumn("count", "int")]),
    )


def _seconds(start: str, end: str) -> float:
    return round((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds(), 3)
