# Needs python >= 3.11, pip, make. Everything else comes from the package index into .venv.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
UV_VERSION = $(shell $(PYTHON) -c 'import tomllib; print(next(p["version"] for p in tomllib.load(open("uv.lock", "rb"))["package"] if p["name"] == "uv"))')
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := $(VENV)
unexport VIRTUAL_ENV

.PHONY: setup test lint clean
setup: $(UV)
	$(UV) sync --locked --all-packages

$(UV):
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(VENV)/bin/python install --quiet --disable-pip-version-check uv==$(UV_VERSION)

test: setup
	$(VENV)/bin/tox run-parallel --parallel auto --parallel-no-spinner $(TOX)

lint: setup
	$(VENV)/bin/tox run -e lint,typing

clean:
	rm -rf $(VENV) .tox proto/src
