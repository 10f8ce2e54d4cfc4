"""Take the pictures of docs/orchestration.md from a project of its own: ``python docs/images/shoot.py [FOLDER]``.

Starts a webserver and a daemon, runs a group with one failing member, and keeps what the UI shows of it. Needs Chromium
at /usr/bin/chromium.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.conftest import ProjectFolder
from tests.services import dagster, dagster_home, dagster_servers

HERE = Path(__file__).parent


def main(folder: Path = HERE) -> None:
    """Write group-run.png, group-lineage.png and checks.png into *folder*."""
    with tempfile.TemporaryDirectory() as scratch:
        project = ProjectFolder(Path(scratch) / "plant")
        for name in ("mes", "qms", "erp"):
            project.interface(name, record_id_paths=["/id"], required_paths=["/id"])
            project.data(f"{name}.jsonl", [{"id": f"{name}-{number}"} for number in range(200)] + [{"no": 1}])
        (project.root / "data" / "erp.jsonl").unlink()
        project.interface("claims", record_id_paths=["/id"], depends_on=["mes"])
        project.data("claims.jsonl", [{"id": number} for number in range(20)])
        project.fabric("defects", ["mes", "qms"])
        project.group("nightly", ["mes", "erp", "qms", "claims", "defects"], schedules=[{"cron": "20 2 * * *"}])
        dagster_home(project.root)
        dagster(project.root, "job", "execute", "-m", "rootsys_dagster.definitions", "-j", "nightly")
        (run_id,) = {commit.run_id for commit in project.log("mes").manifests()}
        with dagster_servers(project.root) as server, sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1500, "height": 1150})
            # Of the events only these: a stack trace would show where this machine keeps its files.
            run = f"{server.url}/runs/{run_id}?logs=type%3AASSET_CHECK_EVALUATION"
            shoot(page, run, "02_erp", folder / "group-run.png")
            shoot(
                page,
                f"{server.url}/assets/defects?view=lineage&lineageScope=upstream&lineageDepth=3",
                "Materialized",
                folder / "group-lineage.png",
            )
            shoot(page, f"{server.url}/assets/mes?view=checks", "conservation", folder / "checks.png")
            browser.close()


def shoot(page: Page, url: str, shown: str, path: Path) -> None:
    """One page, once it shows a text and has come to rest."""
    page.goto(url)
    page.get_by_text(shown).first.wait_for(timeout=60_000)
    page.wait_for_timeout(4000)
    page.screenshot(path=str(path))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
