"""Two inputs merged and deduplicated, against DuckDB over the same JSONL files.

The fabric also hashes what it reads and writes and syncs its output before it is committed; so does DuckDB with its
file. ``rootsys merge`` reads plain files, checks each line and does not sync.
"""

import os
import shutil
import statistics
import sys
from pathlib import Path

from benchmarks.data import defects_file, write_project
from benchmarks.measure import RUNS, Case, Result, interleave, run_once, scratch, table

RECORDS = 1_000_000
LEAST_RATIO, MOST_MB = 2.5, 200
ROOTSYS = str(Path(sys.executable).with_name("rootsys"))


def main(records: int = RECORDS, runs: int = RUNS) -> str:
    """A Markdown section with the ratios and what they should be at least."""
    data = Path("bench-data").resolve()
    inputs = {"mes": defects_file(data, records), "qms": defects_file(data, records, seed=8)}
    large = {"large": defects_file(data, 10 * records)}
    with scratch() as folder:
        project = folder / "project"
        write_project(project, inputs | large)
        for fabric, names in (("defects", '"mes", "qms"'), ("everything", '"large"')):
            (project / "interfaces" / f"{fabric}.fabric.json").write_text(
                f'{{"name": "{fabric}", "inputs": [{names}]}}'
            )
        roots = os.pathsep.join([str(data), str(project)])
        environment = {"DAGSTER_HOME": str(folder), "ROOTSYS_DATA_ROOTS": roots, "ROOTSYS_PROJECT": str(project)}
        state = project / ".rootsys"
        for name in inputs:
            run_once(Case(name, [ROOTSYS, "run", name], environment=environment))
        segments = [str(path) for name in inputs for path in sorted((state / name / "v1" / "records").glob("*.jsonl"))]
        output = folder / "merged.jsonl"

        def forget() -> None:
            shutil.rmtree(state / "defects", ignore_errors=True)
            output.unlink(missing_ok=True)
            os.sync()

        def duckdb(query: str, threads: int) -> Case:
            command = [sys.executable, "-m", "benchmarks.fabric_duckdb", query, str(threads), str(output), *segments]
            return Case(f"DuckDB, {query} of each key, {threads or 'default'} threads", command, forget)

        plain = [argument for path in segments for argument in ("--inputs", path)]
        results = interleave(
            [
                Case("rootsys run: fabric", [ROOTSYS, "run", "defects"], forget, environment),
                Case("rootsys merge: plain files", [ROOTSYS, "merge", *plain, "--output", str(output)], forget),
                duckdb("first", 0),
                duckdb("first", 1),
                duckdb("any", 0),
            ],
            runs,
        )
        run_once(Case("large", [ROOTSYS, "run", "large"], environment=environment))
        ten = run_once(Case("ten times as many", [ROOTSYS, "run", "everything"], environment=environment))
    fabric, files, *others = results
    return "\n\n".join(
        [
            f"### Fabric, two inputs of {records:,} records of about 690 bytes, the first of each key kept",
            table(results),
            f"Times as fast as DuckDB's quickest way to the first of each key (at least {LEAST_RATIO}): fabric "
            f"{times_as_fast(fabric, others[:2]):.2f}, plain files {times_as_fast(files, others[:2]):.2f}; as its way "
            f"to any of each key: fabric {times_as_fast(fabric, others[2:]):.2f}, plain files "
            f"{times_as_fast(files, others[2:]):.2f}. Peak memory {fabric.peak_mb:.0f} MB, with {10 * records:,} "
            f"records {ten.peak_mb:.0f} MB (under {MOST_MB}), which took {ten.wall_s:.1f} s.",
        ]
    )


def times_as_fast(ours: Result, theirs: list[Result]) -> float:
    """The median over the runs of how often *ours* fits into the quickest of *theirs*."""
    rounds = zip(ours.samples, *(result.samples for result in theirs), strict=True)
    return statistics.median(min(sample.wall_s for sample in rest) / own.wall_s for own, *rest in rounds)


if __name__ == "__main__":
    print(main())
