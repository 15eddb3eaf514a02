# Two commands for everybody: `make demo`, `make test`. The rest is for those who change the code.
PYTHON ?= python3
BIN := .venv/bin
STATE := .crowdstack/demo

.PHONY: demo test check fix soak bench clean

# Installs what is missing, once per pyproject.toml and set of extras.
.venv/base: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing crowdstack into .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/dev: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,browser]'
	@touch .venv/base $@

demo: .venv/base  ## a small run with simulated workers, then a link to try yourself
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo/demo.sh $(STATE)

test: .venv/dev  ## every test in its reduced size
	$(BIN)/python -m pytest -q -n 2 --dist loadfile $(PYTEST_ARGS)

check: .venv/dev  ## the gate: format, lint, types, import contracts, tests without slow stories, browser and Pulumi CLI
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not story and not browser and not pulumi" $(PYTEST_ARGS)

fix: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: .venv/dev  ## full size: the figures that are quoted come from here
	CROWDSTACK_SOAK=1 $(BIN)/python -m pytest -q -s --timeout 3600 $(PYTEST_ARGS)
	$(MAKE) bench

bench: .venv/dev
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf .venv .crowdstack build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
