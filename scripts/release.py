"""Release one package: check, write the changelog, set the version, commit, build, tag.

Nothing is pushed: docs/releasing.md says what follows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from releasing import checks
from releasing.commands import ReleaseError, run
from releasing.packages import Package, package_of
from releasing.steps import Release, draft, start, steps

ROOT = Path(__file__).resolve().parents[1]


@click.command()
@click.argument("package")
@click.argument("version")
@click.option("--dry-run", is_flag=True, envvar="DRY_RUN", help="Say what would be done.")
@click.option("--skip-tests", is_flag=True, help="Do not run the tests of the package.")
@click.option("--skip-image", is_flag=True, help="Build no image.")
def main(package: str, version: str, dry_run: bool, skip_tests: bool, skip_image: bool) -> None:
    """Release PACKAGE (proto, procfs, service, collector, receiver, gateway) as VERSION (1.2.3)."""
    try:
        found = package_of(ROOT, package)
        if not version:
            raise ReleaseError(f"VERSION= is missing, e.g. VERSION={_next(found.version)}")
        release = Release(found, version, has_image=not skip_image)
        if dry_run:
            click.echo(f"{found.folder}/CHANGELOG.md would get\n\n{draft(release)}\n")
        _check(found, version)
        if dry_run:
            _describe(release, skip_tests)
        else:
            if not skip_tests:
                _test(found)
            _make(release)
    except ReleaseError as error:
        sys.exit(f"release: {error}")


def _next(version: str) -> str:
    """Return the version after one, with the smallest step."""
    start, dot, last = version.rpartition(".")
    return f"{start}{dot}{int(last) + 1}"


def _check(package: Package, version: str) -> None:
    found = checks.problems(package, version)
    if found:
        listed = "\n".join(f"- {text}" for text in found)
        raise ReleaseError(f"{package.distribution} {version} cannot be released:\n{listed}")
    for text in checks.warnings(package):
        click.echo(f"note: {text}")


def _describe(release: Release, skip_tests: bool) -> None:
    click.echo(f"{release.tag}: every check passed; nothing is changed, a release would")
    if not skip_tests:
        click.echo(f"- run the tests: tox run -e {release.package.name}")
    for step in steps(release):
        click.echo(f"- {step.text}")


def _test(package: Package) -> None:
    click.echo(f"tests of {package.name}")
    run([Path(sys.executable).with_name("tox"), "run", "-e", package.name], ROOT)


def _make(release: Release) -> None:
    before = start(ROOT)
    try:
        for step in steps(release):
            click.echo(step.text)
            step.do(release)
    except (ReleaseError, OSError, KeyboardInterrupt) as error:
        raise ReleaseError(
            f"{str(error) or 'interrupted'}\nNothing is tagged or pushed. Back to where it began: "
            f"git reset --hard {before}"
        ) from error
    click.echo(f"released {release.tag}; now: git push origin main '{release.tag}'")


if __name__ == "__main__":
    main()
