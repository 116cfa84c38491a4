"""The files of deploy/workflows: what a runner makes of the job in each, step by step."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml
from rig.repository import ROOT
from rig.stack import Scope

FOLDER = ROOT / "deploy" / "workflows"
FORGES = {"github": "github.yaml", "forgejo": "forgejo.yaml", "gitlab": "gitlab-ci.yml"}
_EXPRESSION = re.compile(r"\$\{\{ *(?:vars|secrets)\.(\w+) *\}\}")
_VARIABLE = re.compile(r"\$(\w+)")
REPOSITORY = "group/sub/repo"


class Step(NamedTuple):
    """One shell: its script, its own variables, whether its failure fails the job."""

    script: str
    environment: dict[str, str]
    may_fail: bool


def scope(forge: str) -> Scope:
    """Return the scope that a file's comment says the token is for, in a repository."""
    workflow = ".gitlab-ci.yml" if forge == "gitlab" else "ci"
    return Scope("group", REPOSITORY, workflow, "build")


def document(forge: str) -> dict[str, Any]:
    """Return the content of a file."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / FORGES[forge]).read_text())
    return found


def steps(forge: str, settings: Mapping[str, str]) -> list[Step]:
    """Return the steps of the job; ``settings``: variables and secrets of the repository."""
    if forge == "gitlab":
        return [_gitlab(settings)]
    (job,) = document(forge)["jobs"].values()
    found = []
    for step in job["steps"]:
        if "run" in step:
            environment = {
                name: _EXPRESSION.sub(lambda match: settings.get(match[1], ""), value)
                for name, value in step.get("env", {}).items()
            }
            found.append(Step(step["run"], environment, step.get("continue-on-error", False)))
    return found


def _gitlab(settings: Mapping[str, str]) -> Step:
    """GitLab puts all lines into one shell, and its own names into variables of the job."""
    job = document("gitlab")["build"]
    known = {
        **settings,
        "CI_PROJECT_ROOT_NAMESPACE": "group",
        "CI_PROJECT_PATH": REPOSITORY,
        "CI_CONFIG_PATH": ".gitlab-ci.yml",
        "CI_JOB_NAME": "build",
        "CI_PIPELINE_ID": "7",
        "CI_RUNNER_DESCRIPTION": "a runner",
    }
    variables = {
        name: _VARIABLE.sub(lambda match: known.get(match[1], ""), value)
        for name, value in job["variables"].items()
    }
    lines = ["set -o pipefail", *job["before_script"], *job["script"]]
    return Step("\n".join(lines), {**settings, **variables}, False)


def surrounding(forge: str, workspace: str, temporary: str) -> dict[str, str]:
    """Return what a runner of a forge sets by itself."""
    if forge == "gitlab":
        return {"CI": "true", "CI_PROJECT_DIR": workspace}
    (job,) = document(forge)["jobs"]
    return {
        **Scope("group", REPOSITORY, document(forge)["name"], job).variables,
        "CI": "true",
        "GITHUB_RUN_ID": "7",
        "RUNNER_NAME": "a runner",
        "RUNNER_TEMP": temporary,
    }
