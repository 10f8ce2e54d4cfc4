"""Pages of a REST source through the whole product, against a bare httpx loop that only parses them."""

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.data import write_project
from benchmarks.measure import RUNS, Case, interleave, run_once, scratch, table

PAGES = 2_000
LEAST_RATIO = 0.8
ROOTSYS = str(Path(sys.executable).with_name("rootsys"))
GRANIAN = Path(".servers/python/bin/granian")


def main(pages: int = PAGES, runs: int = RUNS) -> str:
    """A Markdown section with the ratio and what it should be at least."""
    if not GRANIAN.exists():
        return "### REST\n\nNot measured: granian is missing (make servers)."
    with scratch() as folder, server(pages) as url, server(10 * pages) as large_url:
        project = folder / "project"
        write_project(project, {"pages": driver(url, 10 * pages), "large": driver(large_url, 10 * pages)})
        environment = {"DAGSTER_HOME": str(folder), "ROOTSYS_PROJECT": str(project)}

        def forget() -> None:
            shutil.rmtree(project / ".rootsys", ignore_errors=True)
            os.sync()

        results = interleave(
            [
                Case("httpx and orjson.loads loop", [sys.executable, "-m", "benchmarks.httpx_loop", url]),
                Case("rootsys run: fetch, normalise, commit", [ROOTSYS, "run", "pages"], forget, environment),
            ],
            runs,
        )
        rounds = [sys.executable, "-m", "benchmarks.rest_rounds", str(project), "pages", str(runs)]
        done = subprocess.run(rounds, env=os.environ | environment, capture_output=True, check=True)
        ten = run_once(Case("ten times as many", [ROOTSYS, "run", "large"], forget, environment))
    times = json.loads(done.stdout)
    rate = statistics.median(one["loop"] / one["run"] for one in times)
    loop, whole = results
    return "\n\n".join(
        [
            f"### REST, {pages:,} pages of 100 items by cursor, a server on the same machine",
            table(results),
            f"Pages per second of the run, against the loop, in one process: {rate:.2f} (at least {LEAST_RATIO}). As "
            f"whole processes, their start included: loop {pages / loop.wall_s:,.0f}, product "
            f"{pages / whole.wall_s:,.0f}, ratio {1 / whole.wall_ratio:.2f}. Peak memory {whole.peak_mb:.0f} MB, "
            f"with {10 * pages:,} pages {ten.peak_mb:.0f} MB, which took {ten.wall_s:.1f} s.",
        ]
    )


def driver(url: str, max_pages: int) -> dict[str, Any]:
    """The member ``driver`` of an interface that reads all pages in one run."""
    cursor = {"cursor_param": "cursor", "cursor_path": "/next", "max_pages": max_pages}
    rest = {"url": url, "items_pointer": "/items", "pagination": {"kind": "cursor", "cursor": cursor}}
    return {"kind": "rest", "rest": rest}


@contextmanager
def server(pages: int) -> Iterator[str]:
    """The server for the length of the block; yields its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--interface", "rsgi", "--workers", "1", "--no-access-log", "--log-level", "error"]
    process = subprocess.Popen(
        [str(GRANIAN), *options, "--host", "127.0.0.1", "--port", str(port), "benchmarks.rest_server:app"],
        env=os.environ | {"PAGES": str(pages)},
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/pages"
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    print(main())
