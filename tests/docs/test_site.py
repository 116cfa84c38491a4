"""The site: it is built without a warning, and a reader's browser asks no other host."""

import contextlib
import functools
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from rig.browser import browsing
from rig.documents import documents
from rig.repository import ROOT

pytestmark = pytest.mark.slow

BROWSER = shutil.which("chromium")
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
ADDRESS = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Loaded(HTMLParser):
    """Collects what a page loads, and the text of its paragraphs."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of what is loaded."""
        address = dict(attrs).get(LOADED.get(tag, ""))
        if address:
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it: a link or an anchor that leads nowhere ends the build."""
    folder = tmp_path_factory.mktemp("site")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    done = subprocess.run(
        [*line, "--site-dir", folder], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    """Documents of the repository are on the site, where they are in the repository."""
    for name in documents():
        if name.startswith((".", "tests/", "bench/")) or "/changes/" in name:
            continue
        path = Path(name)
        page = path.with_name("index") if path.name == "README.md" else path.with_suffix("")
        assert (site / f"{page}.html").exists(), name


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    """Scripts, styles, fonts and pictures of every page are on the site itself."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert len(loaded.addresses) > 4
        for address in loaded.addresses:
            check_is_here(address, page, site)
    for style in site.rglob("*.css"):
        for found in ADDRESS.findall(style.read_text(encoding="utf-8")):
            check_is_here(found[0] or found[1], style, site)


def check_is_here(address: str, page: Path, site: Path) -> None:
    """Check that an address in a page leads to a file of the site."""
    parts = urlsplit(address)
    if parts.scheme == "data":
        return
    assert (parts.scheme, parts.netloc) == ("", ""), (page, address)
    base = site if parts.path.startswith("/") else page.parent
    assert (base / parts.path.lstrip("/")).exists(), (page, address)


def test_lists_are_lists(site: Path) -> None:
    """No list has become part of the paragraph above it, no comment shows."""
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        found = re.search(r"<p>[^<]*\n(?:[-*]|\d+\.) .*", text)
        assert found is None, (page.name, found and found[0])
        assert "&lt;!--" not in text, page.name


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_the_search_finds_pages(site: Path, tmp_path: Path) -> None:
    """A word leads to the page that has it, in a browser that can reach the site alone."""
    assert BROWSER is not None
    with served(site) as url, browsing(BROWSER, tmp_path) as page:
        page.open(f"{url}/search.html?q=max-token-ttl")
        page.wait_for("document.querySelectorAll('#mkdocs-search-results article').length > 0")
        shown = page.value("document.querySelector('#mkdocs-search-results').innerText")
        assert "receiver" in shown
        assert page.errors == []
        asked = [one for one in page.requests if not one.startswith(("data:", url))]
        assert asked == []


class Silent(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Write no line for a request."""


@contextlib.contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve the site on loopback; yield its address."""
    handler = functools.partial(Silent, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
