"""The page of the API's documentation in a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.browser import browsing
from rig.reverse import DOCUMENTED, PROGRAMS, proxying
from rig.stack import Stack

pytestmark = pytest.mark.slow

BROWSER = shutil.which("chromium")
OPENED_COUNT = 4
HEALTH = "document.querySelector('[id$=\"-health\"].opblock-get')"
OPEN = (
    "[...document.querySelectorAll('.opblock-summary-control')]"
    f".slice(0, {OPENED_COUNT}).forEach(one => one.click())"
)


@pytest.fixture(params=["root", "nginx"])
def base(request: pytest.FixtureRequest, stack: Stack, tmp_path: Path) -> Iterator[str]:
    """The address of the API: its own, or below a path of a proxy."""
    if request.param == "root":
        yield stack.gateway.url
        return
    if PROGRAMS["nginx"] is None:
        pytest.skip("needs nginx")
    gateway = stack.gateway.url.removeprefix("http://")
    with proxying("nginx", DOCUMENTED["nginx"], gateway, tmp_path) as address:
        yield f"http://{address}/runmeter"


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_the_page_shows_every_operation(stack: Stack, base: str, tmp_path: Path) -> None:
    """Every operation is shown and can be tried, nothing breaks the policy, and no other host or
    path is asked.
    """
    document = stack.rest.get("/openapi.json").json()
    count = sum(len(methods) for methods in document["paths"].values())
    assert BROWSER is not None
    with browsing(BROWSER, tmp_path) as page:
        page.open(f"{base}/docs")
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
        asked = [url for url in page.requests if not url.startswith(("data:", f"{base}/"))]
        assert asked == []
        assert f"{base}/openapi.json" in page.requests
        page.value(f"{HEALTH}.querySelector('.opblock-summary-control').click()")
        for button in (".try-out__btn", ".execute"):
            page.wait_for(f"{HEALTH}.querySelector('{button}') !== null")
            page.value(f"{HEALTH}.querySelector('{button}').click()")
        page.wait_for(f"{HEALTH}.querySelector('.response') !== null")
        assert f"{base}/health" in page.requests
        # and what would break the policy is seen
        page.value("new Image().src = 'http://127.0.0.2:9/x.png'; 1")
        page.wait_for("window.violations.length === 1")
