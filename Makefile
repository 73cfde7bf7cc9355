# Every target makes .venv first, from pyproject.toml and the tested versions in constraints.txt.
# ARGS= goes to the command:  make train ARGS="model.peeky=none"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install data train translate evaluate lm generate ablation report sweep bench
.PHONY: test test-trust lint format docs wheel clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## create .venv (other targets do this when needed)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

data: install ## make the default dataset (ARGS="addition --out data/addition": another)
	$(BIN)/seq2seq-data $(or $(ARGS),phrasebook)

train: install ## train the default model on phrasebook; ends with a BLEU and sample translations
	$(BIN)/seq2seq-train $(ARGS)

translate: install ## translate lines: make translate ARGS="runs/phrasebook/seed-1 -i in.txt -o out.txt"
	@$(BIN)/seq2seq-translate $(or $(ARGS),runs/phrasebook/seed-1)

evaluate: install ## score a run: make evaluate ARGS="runs/phrasebook/seed-1 --src test.src --ref test.tgt"
	@$(BIN)/seq2seq-evaluate $(ARGS)

lm: install ## train a small language model; ends with perplexities and five generated sentences
	$(BIN)/seq2seq-train experiment=lm_phrasebook $(ARGS)

generate: install ## generate lines: make generate ARGS="runs/lm_phrasebook/seed-1 --prefix Morgen"
	@$(BIN)/seq2seq-generate $(or $(ARGS),runs/lm_phrasebook/seed-1)

ablation: install ## which of reverse and peeky helps? trains 24 small networks and writes a report
	$(BIN)/seq2seq-train experiment=ablation $(ARGS)

report: install ## compare runs again: make report ARGS="runs/ablation -o DIR"
	@$(BIN)/seq2seq-report $(or $(ARGS),runs/ablation)

sweep: install ## compare settings: make sweep ARGS="model.reverse=false,true model.peeky=none,both seed=1,2,3"
	$(BIN)/seq2seq-train --multirun $(ARGS)

bench: install ## compare speed with plain torch loops, into docs/benchmarks.md (ARGS="--only train --quick")
	$(BIN)/python -m bench $(ARGS)

test: install ## run the tests
	$(BIN)/python -m pytest -q --numprocesses auto $(ARGS)

TRUST := checkpoint fuzz language_model mistakes safety cli/test_sweep.py data decoding files training translate
TRUST_PATHS = $(foreach one,$(TRUST),$(firstword $(wildcard tests/test_$(one).py tests/$(one))))
test-trust: install ## run only the tests of docs/trust.md; they are part of make test
	$(BIN)/python -m pytest -q --numprocesses auto $(TRUST_PATHS) $(ARGS)

lint: install ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs ## build the documentation site, site/index.html; a broken link fails
	$(BIN)/zensical build --strict --clean

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

wheel: install ## build dist/*.whl
	$(BIN)/python -m build --wheel

clean: ## remove .venv, caches and built files; runs/ and data/ stay
	rm -rf $(VENV) build dist site .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
