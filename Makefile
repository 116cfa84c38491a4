# Needs python >= 3.11, pip, make. Everything else comes from the package index into .venv.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
UV_VERSION = $(shell $(PYTHON) -c 'import tomllib; print(next(p["version"] for p in tomllib.load(open("uv.lock", "rb"))["package"] if p["name"] == "uv"))')
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := $(VENV)
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-all test-containers test-lowest soak coverage mutation lint lock bench docs generated pyz clean \
  install-hooks change release dist sbom

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

setup: $(UV) ## put collector, receiver and gateway into .venv/bin
	@$(UV) sync --quiet --locked --all-packages

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Runmeter needs python 3.11 or newer: set PYTHON=")'
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(VENV)/bin/python install --quiet --disable-pip-version-check uv==$(UV_VERSION)

demo: setup ## measure a workload, push it, query it, show it; nothing is left behind
	@$(VENV)/bin/python -I scripts/local.py demo

up: setup ## run receiver and gateway here until Ctrl-C, print how to use them
	@$(VENV)/bin/python -I scripts/local.py up

test: setup ## before each commit: tests, lint, types
	TOX_SKIP_ENV=containers $(VENV)/bin/tox run-parallel --parallel 4 --parallel-no-spinner $(TOX)

test-all: setup ## test, and the slow ones: faults, loads, pods, containers, browser, releases
	TIER= $(VENV)/bin/tox run-parallel --parallel 4 --parallel-no-spinner $(TOX)

test-containers: setup ## build the images and run them: needs a Docker engine and compose
	$(VENV)/bin/tox run -e containers

test-lowest: setup ## the quick part of the tests with the lowest versions that the packages declare
	$(VENV)/bin/tox run --recreate -e lowest

RUNS ?= 1000
LOAD_SECONDS ?= 60
SEED ?= $(shell date +%s)
soak: setup ## end RUNS=1000 collectors in each way at random moments, every record of a run in any order, receivers likewise; thousands of odd requests; LOAD_SECONDS=60 of more clients than the gateway serves
	LOSSES_RUNS=$(RUNS) LOSSES_SEED=$(SEED) LOSSES_SECONDS=$(LOAD_SECONDS) $(VENV)/bin/pytest \
	  tests/e2e/test_losses.py tests/e2e/test_faults.py tests/e2e/test_gateway_load.py tests/e2e/test_receiver_faults*.py \
	  tests/contract/test_order.py tests/contract/test_fuzzed.py tests/contract/test_any_names.py \
	  services/receiver/tests/admin/test_transfer.py::test_runs_make_the_round_trip --durations=0

coverage: setup ## which lines and branches of each package its tests reach; fails below 95 % where it matters most
	$(VENV)/bin/tox run -e coverage

mutation: setup ## change ledger, summary and tokens in hundreds of ways: a test has to fail each time; PART=ledger for one of them
	$(VENV)/bin/tox run -e mutation -- $(PART)

lint: setup ## style, types and import rules only
	$(VENV)/bin/tox run -e lint,typing

lock: $(UV) ## bring uv.lock up to date with every pyproject.toml, upgrading nothing
	@$(UV) lock

install-hooks: setup ## check style, types and secrets before each commit
	@$(VENV)/bin/pre-commit install

change: setup ## a line for the next changelog: PACKAGE=receiver KIND=added|changed|fixed|removed|security TEXT="…"
	@$(VENV)/bin/python scripts/change.py "$$PACKAGE" "$$KIND" "$$TEXT"

release: setup ## release PACKAGE=proto VERSION=1.2.3; DRY_RUN=1 says what would be done, SKIP_TESTS=1 skips the tests
	@$(VENV)/bin/python scripts/release.py $(if $(DRY_RUN),--dry-run) $(if $(SKIP_TESTS),--skip-tests) "$(PACKAGE)" "$(VERSION)"

dist: setup ## build what was tagged once more, the same bytes: TAG=runmeter-proto==1.2.3
	@$(VENV)/bin/python scripts/dist.py "$(TAG)"

sbom: setup ## what each package runs with, as CycloneDX: dist/*.cdx.json, or PACKAGE=receiver alone
	@$(VENV)/bin/python scripts/sbom.py $(PACKAGE)

bench: setup ## what the services cost, how exact and how fast they are, measured: docs/performance.md
	@$(VENV)/bin/python -m bench

docs: setup ## the documents as a site with a search, in site/; every link checked
	@$(VENV)/bin/mkdocs build --quiet --strict
	@echo 'site/ is built; to read it: python3 -m http.server --bind 127.0.0.1 --directory site'

generated: setup ## write the generated pages: configuration, events, metrics, openapi.json
	@for page in configuration events metrics openapi; do $(VENV)/bin/python scripts/$$page.py; done

pyz: setup ## write dist/collector.pyz: the collector in one file that needs nothing but Python
	@$(VENV)/bin/python -I scripts/pyz.py

clean: ## remove everything that was built
	rm -rf $(VENV) .tox site proto/src services/gateway/src/runmeter/gateway/static/swagger-ui
