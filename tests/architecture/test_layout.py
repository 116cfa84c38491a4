"""The architecture's rules about layout, dependencies and tools: kept, and each seen to break."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from rig import images, layout, tooling
from rig.scratch import copy_tree

Rule = Callable[[Path], Iterator[str]]

# rule, path, a text there, what it becomes; without a text: a new file; without both: it is gone
BREACHES: list[tuple[Rule, str, str | None, str | None]] = [
    (layout.packages_are_six, "libs/odd/pyproject.toml", None, "[project]\nname = 'odd'\n"),
    (layout.packages_are_six, "pyproject.toml", '"libs/*", ', ""),
    (layout.packages_are_complete, "libs/procfs/CHANGELOG.md", None, None),
    (layout.packages_are_complete, "services/gateway/Dockerfile", None, None),
    (layout.packages_are_complete, "libs/procfs/pyproject.toml", '"runmeter-procfs"', '"procfs"'),
    (layout.namespace_is_shared, "libs/procfs/src/runmeter/__init__.py", None, "\n"),
    (layout.namespace_is_shared, "services/receiver/src/runmeter/shared/x.py", None, "\n"),
    (layout.namespace_is_shared, "services/receiver/src/helpers.py", None, "\n"),
    (layout.tests_are_no_packages, "services/gateway/tests/__init__.py", None, "\n"),
    (layout.tests_are_no_packages, "tests/e2e/__init__.py", None, "\n"),
    (layout.parts_are_there, "services/collector/src/runmeter/collector/ledger.py", None, None),
    (layout.parts_are_there, "docs/errors.md", None, None),
    (layout.root_holds_no_code, "tool.py", None, "\n"),
    (layout.root_holds_no_code, "pyproject.toml", "package = false", ""),
    (layout.root_holds_no_code, "pyproject.toml", "[tool.uv]", "[build-system]\n[tool.uv]"),
    (layout.modules_are_short, "libs/procfs/src/runmeter/procfs/long.py", None, "x = 1\n" * 301),
    (
        layout.functions_are_short,
        "libs/procfs/src/runmeter/procfs/long.py",
        None,
        "".join(f"def f{n}():\n" + "    x = 1\n" * 30 for n in range(9)),
    ),
    (layout.contract_is_one, "services/receiver/more.proto", None, "\npackage runmeter.v1;\n"),
    (layout.contract_is_one, "proto/runmeter/v1/run.proto", "package runmeter.v1;", "package run;"),
    (layout.nothing_built_is_committed, "proto/src/runmeter/v1/run_pb2.py", None, "\n"),
    (layout.nothing_built_is_committed, "services/gateway/run_pb2_grpc.py", None, "\n"),
    (layout.nothing_built_is_committed, "docs/chart.min.js", None, "\n"),
    (layout.nothing_built_is_committed, "services/gateway/swagger-ui/x.css", None, "\n"),
    (layout.generated_files_are_fresh, "tests/architecture/test_docs.py", '"openapi.py", ', ""),
    (layout.generated_files_are_fresh, "docs/configuration.md", None, None),
    (layout.releases_are_recorded, "proto/CHANGELOG.md", "releases -->", "-->\n## 0.0.9 (now)"),
    (layout.releases_are_recorded, "proto/released/0.1.0.binpb", None, None),
    (
        tooling.dependencies_are_those_imported,
        "services/collector/pyproject.toml",
        '  "googleapis-common-protos>=1.70",\n',
        "",
    ),
    (
        tooling.dependencies_are_those_imported,
        "services/collector/pyproject.toml",
        '"tenacity',
        '"psutil>=7", "tenacity',
    ),
    (
        tooling.dependencies_are_those_imported,
        "services/collector/src/runmeter/collector/line.py",
        "from collections",
        "import sanic, tortoise\nfrom collections",
    ),
    (
        tooling.dependencies_are_those_imported,
        "libs/procfs/src/runmeter/procfs/names.py",
        "def decode",
        "import runmeter.v1.run_pb2\n\n\ndef decode",
    ),
    (
        tooling.dependencies_have_bounds,
        "services/receiver/pyproject.toml",
        "cachetools>=6",
        "cachetools",
    ),
    (
        tooling.dependencies_have_bounds,
        "services/receiver/pyproject.toml",
        "grpcio>=1.85.1",
        "grpcio>=1.60",
    ),
    (
        tooling.ranges_of_dependants_fit,
        "services/receiver/pyproject.toml",
        "runmeter-proto>=0.1,<0.2",
        "runmeter-proto>=0.1",
    ),
    (
        tooling.ranges_of_dependants_fit,
        "services/receiver/pyproject.toml",
        "runmeter-proto>=0.1,<0.2",
        "runmeter-proto>=0.0.1,<0.1",
    ),
    (tooling.ranges_of_dependants_fit, "proto/pyproject.toml", '"0.1.0"', '"0.2.0"'),
    (tooling.versions_are_semantic, "proto/pyproject.toml", '"0.1.0"', '"0.1"'),
    (tooling.versions_are_semantic, "services/gateway/pyproject.toml", '"0.1.0"', '"0.1.1"'),
    (tooling.python_is_one, "libs/procfs/pyproject.toml", ">=3.11", ">=3.12"),
    (tooling.python_is_one, "pyproject.toml", '"py311"', '"py312"'),
    (tooling.python_is_one, "pyproject.toml", 'python_version = "3.11"', 'python_version = "3.9"'),
    (tooling.lock_is_one, "libs/procfs/uv.lock", None, "\n"),
    (tooling.lock_is_one, "pyproject.toml", "runmeter-proto = { workspace = true }", ""),
    (tooling.lock_is_one, "uv.lock", 'name = "runmeter-procfs"', 'name = "runmeter-odd"'),
    (
        tooling.build_requirements_are_pinned,
        "libs/procfs/pyproject.toml",
        "hatchling==",
        "hatchling>=",
    ),
    (
        tooling.build_requirements_are_pinned,
        "libs/procfs/pyproject.toml",
        "hatchling==1.33.0",
        "hatchling==1.32.0",
    ),
    (tooling.build_requirements_are_pinned, "proto/pyproject.toml", "grpcio>=", "grpcio>=1."),
    (
        tooling.build_requirements_are_pinned,
        "services/gateway/hatch_build.py",
        "binaries==24.",
        "binaries==23.",
    ),
    (tooling.generated_code_reaches_the_wheel, "proto/pyproject.toml", "artifacts", "others"),
    (
        tooling.generated_code_reaches_the_wheel,
        "proto/pyproject.toml",
        '"runmeter/**/*.proto" }',
        '"x" }',
    ),
    (
        tooling.generated_code_reaches_the_wheel,
        "services/gateway/pyproject.toml",
        "[tool.hatch.build.hooks.custom]",
        "",
    ),
    (tooling.tox_takes_the_lock, "tox.ini", "skip_install = true", ""),
    (tooling.tox_takes_the_lock, "tox.ini", "uv-venv-runner", "virtualenv"),
    (tooling.tox_takes_the_lock, "tox.ini", "--locked", "--frozen"),
    (tooling.tox_takes_the_lock, "tox.ini", "gateway, procfs, service", "procfs, service"),
    (tooling.tox_takes_the_lock, "tox.ini", "UV_PROJECT_ENVIRONMENT = {env_dir}", ""),
    (tooling.uv_is_that_of_the_lock, "Makefile", "uv==$(UV_VERSION)", "uv==0.13.9"),
    (tooling.uv_is_that_of_the_lock, "Makefile", "UV_PYTHON_DOWNLOADS := never", ""),
    (
        tooling.uv_is_that_of_the_lock,
        "services/receiver/Dockerfile",
        "UV_PYTHON_DOWNLOADS=never",
        "A=b",
    ),
    (tooling.types_are_strict, "pyproject.toml", "strict = true\npython", "python"),
    (tooling.types_are_strict, "pyproject.toml", ":services/gateway/src", ""),
    (tooling.types_are_strict, "tox.ini", " services/gateway/src", ""),
    (tooling.types_are_strict, "pyproject.toml", '"types-grpcio>=1.85.0.20261028", ', ""),
    (tooling.tests_are_strict, "pyproject.toml", '["error"]', '["error", "ignore:x"]'),
    (tooling.tests_are_strict, "pyproject.toml", "--import-mode=importlib", "-q"),
    (tooling.tests_are_strict, "pyproject.toml", "xfail_strict = true", ""),
    (
        tooling.tests_are_strict,
        "libs/procfs/pyproject.toml",
        "[tool.hatch",
        "[tool.pytest.ini_options]\n[tool.hatch",
    ),
    (
        tooling.tests_are_strict,
        "libs/procfs/tests/test_odd.py",
        None,
        "@pytest.mark." + "filterwarnings('ignore')",
    ),
    (tooling.layers_are_checked, ".importlinter", "    runmeter.gateway\ninclude", "include"),
    (tooling.layers_are_checked, ".importlinter", "exhaustive = True", "exhaustive = False"),
    (
        tooling.programs_start_apart,
        "services/gateway/src/runmeter/gateway/workers.py",
        '"-I", ',
        "",
    ),
    (
        tooling.programs_start_apart,
        "services/collector/src/runmeter/collector/program.py",
        '"-E", ',
        "",
    ),
    (tooling.tortoise_is_held, "services/receiver/pyproject.toml", ">=1.1.9,<1.2", ">=1.1.9"),
    (tooling.api_is_described_by_us, "uv.lock", 'name = "sanic-routing"', 'name = "sanic-ext"'),
    (tooling.api_is_described_by_us, "docs/openapi.json", '"3.1.', '"3.0.'),
    (tooling.browser_files_are_pinned, "services/gateway/package.json", '"5.', '"^5.'),
    (tooling.browser_files_are_pinned, "services/gateway/package-lock.json", '"integrity"', '"x"'),
    (
        tooling.time_of_a_build_is_fixed,
        "Makefile",
        "export UV",
        "export SOURCE_DATE_EPOCH := $(shell date +%s)\nexport UV",
    ),
    (tooling.targets_are_there, "Makefile", "demo: setup ##", "demo: setup #"),
    (tooling.targets_are_there, "Makefile", "test: setup ##", "tests: setup ##"),
    (tooling.targets_are_there, "README.md", "make demo", "make it"),
    (images.images_take_the_lock, "services/gateway/Dockerfile", "--locked", "--frozen"),
    (images.images_take_the_lock, "services/gateway/Dockerfile", "--no-editable", ""),
    (
        images.images_take_the_lock,
        "services/gateway/Dockerfile",
        "--package runmeter-gateway",
        "--all-packages",
    ),
    (images.images_are_compiled, "services/receiver/Dockerfile", "--compile-bytecode", ""),
    (images.images_are_compiled, "services/receiver/Dockerfile", 'RUN ["python"', '# ["python"'),
    (
        images.images_hold_what_is_needed,
        "services/gateway/Dockerfile",
        "COPY proto proto\n",
        "COPY proto proto\nCOPY services/receiver services/receiver\n",
    ),
    (images.images_hold_what_is_needed, "services/gateway/Dockerfile", "COPY proto proto\n", ""),
    (images.images_hold_what_is_needed, "services/gateway/Dockerfile", "--from=build", ""),
    (images.images_start_apart, "services/collector/Dockerfile", "USER 65532:65532", "USER 0:0"),
    (images.images_start_apart, "services/collector/Dockerfile", '"-I", "-m"', '"-m"'),
]


def rules(*places: ModuleType) -> list[Rule]:
    """Return every rule of modules: public functions of a root that yield findings."""
    return [
        rule
        for place in places
        for name, rule in inspect.getmembers(place, inspect.isgeneratorfunction)
        if rule.__module__ == place.__name__ and not name.startswith("_")
    ]


RULES = rules(layout, tooling, images)


def name_of(value: object) -> str | None:
    """Return the test id of a rule."""
    return getattr(value, "__name__", None)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of every committed file; whoever changes it puts it back."""
    folder = tmp_path_factory.mktemp("tree")
    copy_tree(folder)
    return folder


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_rule_is_kept(rule: Rule, tree: Path) -> None:
    """The repository, as it is committed, keeps the rule."""
    assert list(rule(tree)) == []


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_rule_is_seen_to_break(rule: Rule) -> None:
    """No rule goes without a breach that it finds."""
    assert rule in [breach[0] for breach in BREACHES]


def break_rule(file: Path, text: str | None, becomes: str | None) -> None:
    """Change a file, make it, or remove it."""
    if text is not None and becomes is not None:
        before = file.read_text()
        assert text in before
        file.write_text(before.replace(text, becomes))
    elif becomes is not None:
        assert not file.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(becomes)
    else:
        file.unlink()


@pytest.mark.parametrize(
    ("rule", "path", "text", "becomes"),
    BREACHES,
    ids=[f"{rule.__name__}-{path}" for rule, path, *_ in BREACHES],
)
def test_breach_is_found(
    rule: Rule, path: str, text: str | None, becomes: str | None, tree: Path
) -> None:
    """One change that breaks the rule is found."""
    file = tree / path
    kept = file.read_bytes() if file.exists() else None
    try:
        break_rule(file, text, becomes)
        assert list(rule(tree))
    finally:
        file.unlink(missing_ok=True)
        if kept is not None:
            file.write_bytes(kept)
