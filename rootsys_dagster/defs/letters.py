"""What Dagster shows of dead letters: how many wait, why and since when; and the check on their number."""

from collections.abc import Sequence

import dagster as dg

from rootsys_dagster.core.project import InterfaceFile
from rootsys_dagster.defs.metadata import reject_ratio, summed
from rootsys_dagster.log.commit import CommitLog
from rootsys_dagster.log.letters import OPEN_STATES, Letter, LetterFilter, Letters, open_letters
from rootsys_dagster.log.manifest import Manifest

OPEN_DEAD_LETTERS = "open_dead_letters"
SAMPLE = 10
DAYS = 14
MAX_ROWS = 50
SHOWN = ("id", "source", "at", "reasons", "message")
WAITING = LetterFilter(states=OPEN_STATES)


def letters_metadata(letters: Letters) -> dict[str, dg.MetadataValue]:
    """How things stand now, whatever the newest run did."""
    counts = letters.counts()
    resolved, failing = counts.get("replayed", 0), counts.get("failing", 0)
    show = dg.MetadataValue
    metadata: dict[str, dg.MetadataValue] = {
        "open": show.int(letters.open_count()),
        "still_failing": show.int(failing),
        "replayed": show.int(resolved),
        "discarded": show.int(counts.get("discarded", 0)),
    }
    if resolved + failing:
        metadata["replay_success_rate"] = show.float(round(resolved / (resolved + failing), 6))
    if not metadata["open"].value:
        return metadata
    metadata["open_by_reason"] = _table("reason", letters.by("reason", WAITING))
    metadata["open_by_place"] = _table("pointer", letters.by("pointer", WAITING))
    metadata["open_by_day"] = _table("day", letters.by("day", WAITING)[-DAYS:])
    metadata["open_sample"] = dg.MetadataValue.table(
        [_row(letter) for letter in letters.select(WAITING, SAMPLE)],
        schema=dg.TableSchema(
            [dg.TableColumn(name, "string") for name in ("id", "source", "at", "reasons", "message")]
        ),
    )
    return metadata


def _table(name: str, rows: Sequence[tuple[str, int]]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [dg.TableRecord({name: value, "count": count}) for value, count in rows[:MAX_ROWS]],
        schema=dg.TableSchema([dg.TableColumn(name, "string"), dg.TableColumn("count", "int")]),
    )


def _row(letter: Letter) -> dg.TableRecord:
    """One letter without its payload, which may be long or secret."""
    members = letter.to_json()
    message = members["errors"][0]["message"] if members["errors"] else ""
    reasons = ", ".join(members["reason_codes"])
    at = letter.position if len(letter.position) <= 200 else letter.position[:200] + "…"
    return dg.TableRecord(
        {"id": letter.id, "source": letter.locator or "", "at": at, "reasons": reasons, "message": message}
    )


def open_dead_letters(log: CommitLog, entry: InterfaceFile, key: dg.AssetKey) -> dg.AssetCheckEvaluation:
    """Compare the letters that wait, and the reject ratio of the newest two runs, with the budget of the interface.

    More open letters than ``max_open`` is an error, and so is a ratio above ``max_reject_ratio`` in two runs one after
    the other; in the newest run alone it is a warning.
    """
    policy = entry.require().dead_letters
    budget = policy.budget if policy else None
    ratios = [reject_ratio(summed(run)) for run in last_runs(log, 2)]
    with open_letters(log) as letters:
        metadata = letters_metadata(letters)
        count = letters.open_count()
    metadata["reject_ratio"] = dg.MetadataValue.float(ratios[0] if ratios else 0.0)
    errors: list[str] = []
    warnings: list[str] = []
    if budget is not None and budget.max_open is not None:
        metadata["max_open"] = dg.MetadataValue.int(budget.max_open)
        if count > budget.max_open:
            errors.append(f"open dead letters: {count}, and max_open is {budget.max_open}")
    if budget is not None and budget.max_reject_ratio is not None:
        most = budget.max_reject_ratio
        metadata["max_reject_ratio"] = dg.MetadataValue.float(most)
        if ratios and ratios[0] > most:
            again = len(ratios) > 1 and ratios[1] > most
            text = f"reject ratio {ratios[0]:.4f} is above max_reject_ratio {most}"
            (errors if again else warnings).append(f"{text}{', as it was in the run before' if again else ''}")
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=OPEN_DEAD_LETTERS,
        passed=not (errors or warnings),
        severity=dg.AssetCheckSeverity.ERROR if errors or not warnings else dg.AssetCheckSeverity.WARN,
        description="; ".join(errors + warnings)
        or ("within the budget" if budget else "no budget is set in the interface file"),
        metadata={
            name: dg.MetadataValue.float(value) if isinstance(value, float) else value
            for name, value in metadata.items()
        },
    )


def check_result(evaluation: dg.AssetCheckEvaluation) -> dg.AssetCheckResult:
    """The same, as the step that the check belongs to yields it."""
    return dg.AssetCheckResult(
        asset_key=evaluation.asset_key,
        check_name=evaluation.check_name,
        passed=evaluation.passed,
        severity=evaluation.severity,
        description=evaluation.description,
        metadata=evaluation.metadata,
    )


def last_runs(log: CommitLog, count: int) -> list[list[Manifest]]:
    """The commits of the newest *count* runs that have read the source, newest run first."""
    runs: list[list[Manifest]] = []
    for seq in range(log.last_seq(), 0, -1):
        commit = log.manifest(seq)
        if commit.mode != "ingest":
            continue
        if not runs or commit.run_id != runs[-1][0].run_id:
            if len(runs) == count:
                break
            runs.append([])
        runs[-1].append(commit)
    return runs
