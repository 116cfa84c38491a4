"""The page of the documentation: its files and its policy."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

GATEWAY = Path(__file__).parents[2]
ROOT = GATEWAY.parents[1]
SOURCES = ("pyproject.toml", "hatch_build.py", "package.json", "package-lock.json", "README.md")
ASSETS = ("start.js", "swagger-ui-bundle.js", "swagger-ui.css")


def test_page(client: httpx.Client) -> None:
    """The page needs no token and refers only to files of the gateway."""
    answer = client.get("/docs", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    named = [
        urljoin("/docs", address) for address in re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    ]
    assert sorted(named) == [
        *(f"/docs/{name}" for name in ASSETS),
        "/openapi.json",
        "data:,",
    ]
    assert '="/' not in answer.text  # below a path of a proxy it would leave it
    for address in named[:-1]:
        assert not urlsplit(address).netloc
    for address in set(named) - {"data:,"}:
        assert client.get(address).status_code == 200


def test_page_with_a_slash(client: httpx.Client) -> None:
    """``/docs/`` leads to ``/docs``, also below a path."""
    answer = client.get("/docs/")
    assert (answer.status_code, answer.headers["location"]) == (308, "../docs")


@pytest.mark.parametrize("name", ASSETS)
def test_assets(client: httpx.Client, name: str) -> None:
    """Assets have their type, load nothing from another host, and are 304 if unchanged."""
    answer = client.get(f"/docs/{name}")
    kind = "text/css" if name.endswith(".css") else "text/javascript"
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    # in a stylesheet addresses are loaded; in the bundle they are names (of namespaces, schemas)
    loaded = re.findall(r"url\(([^)]*)\)|@import", answer.text) if kind == "text/css" else []
    assert [address for address in loaded if not address.startswith(('"data:', "data:"))] == []
    if name == "start.js":
        assert re.findall(r"\w+://[^\s\"']+", answer.text) == []
        assert "validatorUrl: null" in answer.text
    again = client.get(f"/docs/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/openapi.json"])
def test_policy(client: httpx.Client, path: str) -> None:
    """The policy forbids other hosts, inline scripts and styles, and eval."""
    policy = client.get(path).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["img-src"] == "'self' data:"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy
    assert "//" not in policy


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/docs/swagger-ui-bundle.js"])
def test_gzip(client: httpx.Client, path: str) -> None:
    """Clients that accept gzip get it with an ETag of its own; others get the plain file."""
    plain = client.get(path)
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"
    asking = {"Accept-Encoding": "gzip"}
    answer = client.get(path, headers=asking)
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == (
        "gzip",
        "Accept-Encoding",
    )
    assert answer.content == plain.content
    assert int(answer.headers["content-length"]) < len(plain.content) * 0.7
    assert answer.headers["etag"] != plain.headers["etag"]
    head = client.head(path, headers=asking)
    assert head.headers["content-length"] == answer.headers["content-length"]
    known = asking | {"If-None-Match": answer.headers["etag"]}
    assert client.get(path, headers=known).status_code == 304
    other = asking | {"If-None-Match": plain.headers["etag"]}
    assert client.get(path, headers=other).status_code == 200


@pytest.mark.parametrize("name", ["no.js", "fetched", "..%2Fdocs.html", "LICENSE", "%00"])
def test_no_other_file(client: httpx.Client, name: str) -> None:
    """Below /docs/ there are only the files that the page loads."""
    answer = client.get(f"/docs/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_lock() -> None:
    """The lock pins every package by hash and names no registry."""
    packages = json.loads((GATEWAY / "package-lock.json").read_text())["packages"]
    wanted = json.loads((GATEWAY / "package.json").read_text())["dependencies"]
    assert packages[""]["dependencies"] == wanted
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    for name, package in packages.items():
        assert "resolved" not in package
        assert not name or package["integrity"].startswith("sha512-")


@pytest.mark.slow
def test_wheel(tmp_path: Path) -> None:
    """A wheel built from the sources only contains the page and its licences."""
    for name in SOURCES:
        shutil.copy(GATEWAY / name, tmp_path / name)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    without = shutil.ignore_patterns("swagger-ui", "__pycache__")
    shutil.copytree(GATEWAY / "src", tmp_path / "src", ignore=without)
    done = subprocess.run(
        [sys.executable, "-m", "uv", "build", "--wheel", "--python", sys.executable, "-o", "dist"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        static = "runmeter/gateway/static"
        names = set(archive.namelist())
        assert {f"{static}/docs.html", f"{static}/start.js"} < names
        for name in ("swagger-ui-bundle.js", "swagger-ui.css", "LICENSE", "NOTICE"):
            assert archive.getinfo(f"{static}/swagger-ui/{name}").file_size
