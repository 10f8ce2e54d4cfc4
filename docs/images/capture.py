"""Take the picture of the asset graph in the README from a running UI: ``python docs/images/capture.py [URL]``.

Needs Chromium at /usr/bin/chromium, and ``make demo`` and ``make ui`` before.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

URL = "http://127.0.0.1:3000"
PAGE = "assets/folder/data?view=lineage&lineageScope=downstream&lineageDepth=2"


def main(url: str = URL) -> None:
    """Keep what the lineage page shows downstream of the example's folder."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1500, "height": 1150})
        page.goto(f"{url}/{PAGE}")
        page.get_by_text("Hide navigation").click()
        page.get_by_text("Materialized").first.wait_for(timeout=60_000)
        page.wait_for_timeout(6000)
        page.screenshot(path=str(Path(__file__).with_name("asset-graph.png")))
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
