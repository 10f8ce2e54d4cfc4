"""As a person sees it: Dagster's UI in headless Chromium, a check that is red, a replay in the launchpad, and green."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.conftest import ProjectFolder
from tests.crash.conftest import unavailable
from tests.services import dagster_home, dagster_servers, wait_for

CONFIG = "ops:\n  rootsys_replay:\n    config:\n      interface: mes\n"
PATIENCE_MS = 60_000


@pytest.fixture
def page() -> Iterator[Page]:
    """A tab of a real browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        unavailable("Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def test_a_red_check_turns_green_by_a_replay_in_the_launchpad(page: Page, tmp_path: Path) -> None:
    project = ProjectFolder(tmp_path / "project")
    members: dict[str, Any] = {"record_id_paths": ["/id"], "dead_letters": {"budget": {"max_open": 0}}}
    project.interface("mes", required_paths=["/n"], **members)
    project.data("mes.jsonl", [{"id": 1, "n": 1}, {"id": 2}])
    dagster_home(project.root)
    with dagster_servers(project.root) as server:
        checks = f"{server.url}/assets/mes_dead_letters?view=checks"
        page.goto(f"{server.url}/locations/__repository__@rootsys/jobs/mes")
        page.get_by_role("button", name="Materialize all").click()
        wait_for("the first run", lambda: project.log().has_commits() or None)
        page.goto(checks)
        expect(page.get_by_text("open dead letters: 1, and max_open is 0")).to_be_visible(timeout=PATIENCE_MS)
        expect(page.get_by_text("Failed").first).to_be_visible()
        expect(page.get_by_text("MISSING_REQUIRED_PATH").first).to_be_visible()

        project.interface("mes", **members)
        page.goto(f"{server.url}/locations/__repository__@rootsys/jobs/replay_dead_letters/playground")
        page.locator(".CodeMirror").first.click()
        page.keyboard.press("Control+A")
        page.keyboard.insert_text(CONFIG)
        expect(page.get_by_text("No missing config")).to_be_visible(timeout=PATIENCE_MS)
        page.get_by_role("button", name="Launch Run").click()
        wait_for("the replay", lambda: len(project.records()) == 2 or None)
        page.goto(checks)
        expect(page.get_by_text("within the budget")).to_be_visible(timeout=PATIENCE_MS)
        expect(page.get_by_text("Passed").first).to_be_visible()
    assert [record["record_id"] for record in project.records()] == ["1", "2"]
