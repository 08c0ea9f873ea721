# `make` lists the targets; docs/start/install.md tells what `setup` does.
PY := .venv/bin/python
# Two workers, each with whole files, so that what the tests of a file share is made once.
PYTEST := $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

QUICKSTART := work_dirs/quickstart

.PHONY: help setup quickstart demo test test-fast docs lint format release clean
.NOTPARALLEL:

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: ## make .venv and install everything (at once when it is there)
	@bash tools/setup/install.sh

quickstart: setup ## set up, then pre-train and fine-tune a small model on toy scenes
	@$(PY) tools/quickstart.py

demo: setup ## after quickstart: its models in a browser, on http://127.0.0.1:7860
	@$(PY) -m mmcnv2 demo --detector $(QUICKSTART)/mask-rcnn_fcmae --segmenter $(QUICKSTART)/upernet_fcmae \
		--fcmae $(QUICKSTART)/fcmae

test: lint ## set up, then the style checks and the test suite
	$(PYTEST)

test-fast: setup ## the tests that start no process and compute little, for every commit
	$(PYTEST) -m "not slow"

docs: setup ## set up, then build the pages as a site in build/docs, notebooks executed (two minutes)
	$(PY) -m sphinx -q -W --keep-going docs build/docs
	@echo build/docs/index.html

lint: setup ## style, spelling, types, and which folder may import which
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m codespell_lib
	$(PY) -m mypy
	.venv/bin/lint-imports

format: setup ## rewrite the code in the project's style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

release: setup ## build sdist and wheel of a release in dist/, check them, try the wheel in an empty environment
	$(PY) tools/release/release.py

clean: ## remove .venv and what the tools left behind; a compiled mmcv in .cache stays
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
