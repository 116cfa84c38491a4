"""scripts/release.py, run in a repository of its own."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from rig.repository import PACKAGES
from rig.scratch import PERSON, commit_all, git

pytestmark = pytest.mark.slow

RANGES = "runmeter-proto>=0.1,<0.2"


@pytest.fixture(scope="module")
def origin(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository before its first release, each package with one fragment; no test changes it."""
    folder = tmp_path_factory.mktemp("origin") / "clone"
    git(folder.parent, "clone", "--quiet", str(everything), str(folder))
    code = (
        "from pathlib import Path; from releasing.packages import packages, set_version; "
        "[set_version(one, '0.1.0') for one in packages(Path('..').resolve()).values()]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder / "scripts", check=True)
    for name in PACKAGES:
        path = folder / name / "pyproject.toml"
        path.write_text(re.sub(r'"(runmeter-[a-z]+)>=[^"]*"', r'"\1>=0.1,<0.2"', path.read_text()))
        for fragment in (folder / name / "changes").glob("*.md"):
            fragment.unlink()
        (folder / name / "changes").mkdir(exist_ok=True)
        (folder / name / "changes" / "+news.added.md").write_text("Something new.\n")
    released = folder / "proto" / "released"
    for path in set(released.glob("*.binpb")) - {released / "0.1.0.binpb"}:
        path.unlink()
    sums = (released / "SHA256SUMS").read_text().splitlines(keepends=True)
    (released / "SHA256SUMS").write_text("".join(s for s in sums if s.endswith(" 0.1.0.binpb\n")))
    commit_all(folder, "Nothing is released")
    return folder


@pytest.fixture
def repository(origin: Path, tmp_path: Path) -> Path:
    """A clone to release in."""
    git(tmp_path, "clone", "--quiet", str(origin), "clone")
    return tmp_path / "clone"


def release(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the repository's own script."""
    environment = {key: value for key, value in os.environ.items() if key != "DRY_RUN"}
    return subprocess.run(
        [sys.executable, repository / "scripts" / "release.py", *arguments],
        cwd=repository,
        env={**environment, **PERSON},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def refusal(repository: Path, *arguments: str) -> str:
    """Return why a release is refused; nothing is changed by it."""
    before = state(repository)
    done = release(repository, *arguments, "--skip-tests", "--skip-image")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert state(repository) == before
    return done.stderr


def state(repository: Path) -> tuple[str, str, str, bool]:
    """Return what a release changes."""
    return (
        git(repository, "rev-parse", "HEAD"),
        git(repository, "tag"),
        git(repository, "status", "--porcelain"),
        (repository / "dist").exists(),
    )


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(origin: Path) -> None:
    """--dry-run names every step and shows the changelog; commits, tags, files stay as they are."""
    before = state(origin)
    done = release(origin, "proto", "0.1.9", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert state(origin) == before
    for text in (
        "tox run -e proto",
        "proto/CHANGELOG.md from 1 fragments",
        "set the version 0.1.9 in proto/pyproject.toml, uv.lock",
        "proto/released/0.1.9.binpb",
        "'Release runmeter-proto 0.1.9'",
        "dist/runmeter-proto==0.1.9",
        "tag as runmeter-proto==0.1.9",
        "- Something new.",
    ):
        assert text in done.stdout


def test_a_dry_run_shows_the_changelog_of_what_cannot_be_released_yet(repository: Path) -> None:
    """Obstacles are named, and the changelog is printed, so that it can be read early."""
    git(repository, "switch", "--quiet", "--create", "feature")
    done = release(repository, "proto", "0.1.9", "--dry-run")
    assert done.returncode == 1
    assert "this is feature: git switch main" in done.stderr
    assert "proto/CHANGELOG.md would get" in done.stdout
    assert "- Something new." in done.stdout


def test_a_version_that_is_missing(repository: Path) -> None:
    """Without VERSION= an example of one is given."""
    text = refusal(repository, "proto", "")
    assert text == "release: VERSION= is missing, e.g. VERSION=0.1.1\n"


def test_a_release_of_the_contract(repository: Path) -> None:
    """A release is one commit with changelog, versions and contract, an annotated tag, a dist."""
    before = git(repository, "rev-parse", "HEAD")
    done = release(repository, "runmeter-proto", "0.1.9", "--skip-tests", "--skip-image")
    assert done.returncode == 0, done.stderr

    assert git(repository, "rev-parse", "HEAD~1") == before
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "cat-file", "-t", "runmeter-proto==0.1.9") == "tag"
    assert git(repository, "rev-parse", "runmeter-proto==0.1.9^{commit}") == git(
        repository, "rev-parse", "HEAD"
    )
    assert set(git(repository, "diff", "--name-only", "HEAD~1").split()) == {
        "proto/CHANGELOG.md",
        "proto/changes/+news.added.md",
        "proto/pyproject.toml",
        "proto/released/0.1.9.binpb",
        "proto/released/SHA256SUMS",
        "uv.lock",
    }
    assert "- Something new." in (repository / "proto" / "CHANGELOG.md").read_text()
    recorded = (repository / "proto" / "released" / "0.1.9.binpb").read_bytes()
    assert len(FileDescriptorSet.FromString(recorded).file) == 4
    lock = tomllib.loads((repository / "uv.lock").read_text())["package"]
    assert [p["version"] for p in lock if p["name"] == "runmeter-proto"] == ["0.1.9"]

    output = repository / "dist" / "runmeter-proto==0.1.9"
    assert sorted(path.name for path in output.iterdir()) == [
        "runmeter-proto-0.1.9.cdx.json",
        "runmeter_proto-0.1.9-py3-none-any.whl",
        "runmeter_proto-0.1.9.tar.gz",
    ]
    bill = json.loads((output / "runmeter-proto-0.1.9.cdx.json").read_text())
    assert {"grpcio", "protobuf"} <= {part["name"] for part in bill["components"]}
    wheel = zipfile.ZipFile(output / "runmeter_proto-0.1.9-py3-none-any.whl")
    assert "runmeter_proto-0.1.9.dist-info/licenses/LICENSE" in wheel.namelist()
    assert "runmeter/v1/run_pb2.py" in wheel.namelist()
    with tarfile.open(output / "runmeter_proto-0.1.9.tar.gz") as sdist:
        assert "runmeter_proto-0.1.9/LICENSE" in sdist.getnames()

    (repository / "proto" / "changes" / "+more.fixed.md").write_text("More.\n")
    commit_all(repository, "More")
    text = refusal(repository, "proto", "0.1.9")
    assert "the tag runmeter-proto==0.1.9 exists" in text
    assert "0.1.8 is below 0.1.9" in refusal(repository, "proto", "0.1.8")


def test_everything_in_the_way_is_said_at_once(repository: Path) -> None:
    """Branch, leftovers, version, fragments and ranges are each named, with what to do."""
    git(repository, "switch", "--quiet", "--create", "feature")
    (repository / "proto" / "changes" / "+news.added.md").unlink()
    text = refusal(repository, "proto", "0.2.0")
    assert "this is feature: git switch main" in text
    assert "the working tree is not clean" in text
    assert "proto/changes has no fragment" in text
    for service in ("collector", "receiver", "gateway"):
        assert f"services/{service}/pyproject.toml declares runmeter-proto" in text
    assert "is below 0.1.0" in refusal(repository, "proto", "0.0.9")


def test_a_range_that_was_widened_admits_the_version(repository: Path) -> None:
    """With all dependants' ranges widened, a minor version of the contract may go out."""
    for service in ("collector", "receiver", "gateway"):
        path = repository / "services" / service / "pyproject.toml"
        text = path.read_text()
        assert RANGES in text
        path.write_text(text.replace(RANGES, "runmeter-proto>=0.1,<0.3"))
    commit_all(repository, "Wider")
    done = release(repository, "proto", "0.2.0", "--dry-run")
    assert done.returncode == 0, done.stderr


def test_a_contract_that_breaks_a_released_one(repository: Path) -> None:
    """A renamed field is refused, by its name and the version it is released in."""
    path = repository / "proto" / "runmeter" / "v1" / "run.proto"
    path.write_text(path.read_text().replace(" push_id = ", " pushed_id = ", 1))
    commit_all(repository, "Break")
    text = refusal(repository, "proto", "0.1.9")
    assert "the contract breaks released ones" in text
    assert "0.1.0: message runmeter.v1.Run: field push_id renamed: push_id to pushed_id" in text


def test_a_recorded_contract_is_not_released_as_another(repository: Path) -> None:
    """A version whose record differs from the contract is refused."""
    path = repository / "proto" / "runmeter" / "v1" / "token_service.proto"
    path.write_text(path.read_text() + "\n// Nothing.\nmessage Nothing {}\n")
    commit_all(repository, "Add")
    text = refusal(repository, "proto", "0.1.0")
    assert "0.1.0 is recorded in proto/released with another contract" in text


def test_dependencies_are_released_first(repository: Path) -> None:
    """A service waits for releases of the contract and the library, in its ranges."""
    text = refusal(repository, "receiver", "0.1.0")
    assert "of which nothing is released: release proto first" in text
    assert "of which nothing is released: release service first" in text
    git(repository, "tag", "runmeter-proto==0.1.9")
    git(repository, "tag", "runmeter-service==0.1.0")
    done = release(repository, "receiver", "0.1.0", "--dry-run", "--skip-image")
    assert done.returncode == 0, done.stderr
    assert "note: runmeter-proto has unreleased changes" in done.stdout


def test_the_version_goes_wherever_it_stands(repository: Path) -> None:
    """A new version of the collector is set in pyproject.toml, Dockerfile and the constant."""
    code = (
        "from pathlib import Path; from releasing.packages import package_of, set_version; "
        "set_version(package_of(Path('..').resolve(), 'collector'), '0.1.7')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=repository / "scripts", check=True)
    folder = "services/collector"
    assert set(git(repository, "diff", "--name-only").split()) == {
        f"{folder}/pyproject.toml",
        f"{folder}/Dockerfile",
        f"{folder}/src/runmeter/collector/version.py",
    }
    lines = re.findall(r"^[+](?![+]).*", git(repository, "diff"), re.MULTILINE)
    assert len(lines) == 3
    assert all('"0.1.7"' in line for line in lines)


def test_only_three_numbers(origin: Path) -> None:
    """Nothing but three numbers is a version."""
    for version in ("v1.0.0", "1.0.0rc1", "1.02.0"):
        assert "give three numbers" in refusal(origin, "proto", version)


def test_an_unknown_package(origin: Path) -> None:
    """A name that is no package is answered by those that are."""
    text = refusal(origin, "sender", "1.0.0")
    assert "collector, gateway, procfs, proto, receiver, service" in text


def test_a_step_that_fails_says_how_to_go_back(repository: Path) -> None:
    """A build that fails leaves no tag, and the message names the commit to go back to."""
    (repository / "libs" / "procfs" / "README.md").unlink()
    commit_all(repository, "Break")
    broken = git(repository, "rev-parse", "HEAD")
    done = release(repository, "procfs", "0.1.0", "--skip-tests")
    assert done.returncode == 1
    assert f"git reset --hard {broken}" in done.stderr
    assert "Traceback" not in done.stderr
    assert git(repository, "tag") == ""
