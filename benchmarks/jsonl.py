"""JSON lines through the whole product, against ``orjson.loads`` alone over the same file."""

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.data import defects_file, write_project
from benchmarks.measure import RUNS, Case, interleave, run_once, scratch, table

RECORDS = 1_000_000
MOST_OF_WHOLE, MOST_OF_CORE, MOST_MB = 2.2, 1.2, 200
ROOTSYS = str(Path(sys.executable).with_name("rootsys"))


def main(records: int = RECORDS, runs: int = RUNS) -> str:
    """A Markdown section with the ratios and what they should be at most."""
    data = Path("bench-data").resolve()
    small, large = defects_file(data, records), defects_file(data, 10 * records)
    with scratch() as folder:
        project = folder / "project"
        write_project(project, {"mes": small, "large": large})
        environment = {"DAGSTER_HOME": str(folder), "ROOTSYS_DATA_ROOTS": os.pathsep.join([str(data), str(project)])}
        environment["ROOTSYS_PROJECT"] = str(project)

        def forget() -> None:
            shutil.rmtree(project / ".rootsys", ignore_errors=True)
            os.sync()

        loop = [sys.executable, "-m", "benchmarks.orjson_loop", str(small)]
        results = interleave(
            [
                Case("orjson.loads loop", loop),
                Case("rootsys run: fetch, normalise, commit", [ROOTSYS, "run", "mes"], forget, environment),
            ],
            runs,
        )
        ten = run_once(Case("ten times as many", [ROOTSYS, "run", "large"], forget, environment))
        core = [sys.executable, "-m", "benchmarks.core_loop", str(project), "mes", str(runs)]
        done = subprocess.run(core, env=os.environ | environment, capture_output=True, check=True)
    rounds = json.loads(done.stdout)
    core_ratio = statistics.median(times["core"] / times["orjson"] for times in rounds)
    whole = results[1]
    return "\n\n".join(
        [
            f"### JSON lines, {records:,} records of about 360 bytes",
            table(results),
            f"core / orjson.loads, in one process, = {core_ratio:.2f} (at most {MOST_OF_CORE}); "
            f"whole / orjson.loads = {whole.wall_ratio:.2f} (at most {MOST_OF_WHOLE}); "
            f"peak memory {whole.peak_mb:.0f} MB, with {10 * records:,} records {ten.peak_mb:.0f} MB "
            f"(under {MOST_MB}), which took {ten.wall_s:.1f} s.",
        ]
    )


if __name__ == "__main__":
    print(main())
