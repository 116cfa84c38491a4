"""The page of the API's documentation in a real browser."""

import shutil
from pathlib import Path

import pytest
from rig.browser import browsing
from rig.stack import Stack

pytestmark = pytest.mark.slow

BROWSER = shutil.which("chromium")
OPENED_COUNT = 4
OPEN = (
    "[...document.querySelectorAll('.opblock-summary-control')]"
    f".slice(0, {OPENED_COUNT}).forEach(one => one.click())"
)


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_the_page_shows_every_operation(stack: Stack, tmp_path: Path) -> None:
    """Every operation is shown, nothing breaks the policy, and no other host is asked."""
    document = stack.rest.get("/openapi.json").json()
    count = sum(len(methods) for methods in document["paths"].values())
    assert BROWSER is not None
    with browsing(BROWSER, tmp_path) as page:
        page.open(f"{stack.gateway.url}/docs")
        page.wait_for(f"document.querySelectorAll('.opblock').length === {count}")
        page.value(OPEN)
        page.wait_for(f"document.querySelectorAll('.opblock.is-open').length === {OPENED_COUNT}")
        page.wait_for(f"document.querySelectorAll('.responses-table').length === {OPENED_COUNT}")
        shown = page.value("document.body.innerText")
        assert all(
            path.replace("/", "") in shown.replace("\u200b", "").replace("/", "")
            for path in document["paths"]
        )
        assert page.value("window.violations") == []
        assert page.errors == []
        asked = [url for url in page.requests if not url.startswith(("data:", stack.gateway.url))]
        assert asked == []
        assert f"{stack.gateway.url}/openapi.json" in page.requests
        # and what would break the policy is seen
        page.value("new Image().src = 'http://127.0.0.2:9/x.png'; 1")
        page.wait_for("window.violations.length === 1")
