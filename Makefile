# `make` alone lists what there is. Only Python 3.11+, make and the package registries are needed.
PORT ?= 8000
PYTHON ?= python3
BIN = .venv/bin
MESSAGES = locale/it/LC_MESSAGES/django.mo

.DEFAULT_GOAL := help
.PHONY: help demo run test check lock messages bench faults drill

help: ## list the commands
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/runtime $(MESSAGES) ## the demo retailer, its campaign going out, then served on PORT (8000)
	@$(BIN)/python manage.py up --demo --port $(PORT)

run: .venv/runtime $(MESSAGES) ## the product without demo data, served on PORT (8000)
	@$(BIN)/python manage.py up --port $(PORT)

test: .venv/development $(MESSAGES) ## every test
	@$(BIN)/pytest -n auto --dist loadgroup

check: .venv/development $(MESSAGES) ## style, types, ladder, deployment, migrations, translations
	@PATH="$(CURDIR)/$(BIN):$$PATH" ./.ci/check

faults: .venv/development ## break services, workers and clocks on purpose; ONLY="F1 F6" SEED=7
	@$(BIN)/python -m faults $(ONLY) $(if $(SEED),--seed $(SEED))

bench: .venv/development ## measure ours, the floor and the peers; ONLY=dispatch ROUNDS=5 FULL=1
	@$(BIN)/python -m bench $(ONLY) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(FULL),--full)

drill: .venv/runtime ## back up, restore beside, and prove the copy sound, silent and able to send
	@$(BIN)/python manage.py restore_drill

messages: .venv/development ## bring new texts into the Italian catalogue, untranslated
	@$(BIN)/python .ci/translations.py --update

lock: .venv/development ## pin requirements.in and requirements-dev.in again, with hashes
	@for name in requirements requirements-dev requirements-uv; do \
	  $(BIN)/uv pip compile -q --universal --generate-hashes --no-strip-extras --no-emit-index-url \
	    --custom-compile-command "make lock" --python-version 3.11 $$name.in -o $$name.txt; done

# --- set-up: each file stands for what was installed from the pins it depends on --------------------
# Packages are compiled as they are installed: where Python may not write bytecode, every process would do it.

.venv/uv: requirements-uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "OmniCRM needs Python 3.11 or newer.")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements-uv.txt
	@touch $@

.venv/runtime: .venv/uv requirements.txt
	@if [ -f .venv/development ]; then $(MAKE) --no-print-directory .venv/development; else \
	  $(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements.txt requirements-uv.txt; fi
	@touch $@

.venv/development: .venv/uv requirements.txt requirements-dev.txt
	@$(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements.txt requirements-dev.txt requirements-uv.txt
	@touch $@ .venv/runtime

$(MESSAGES): locale/it/LC_MESSAGES/django.po | .venv/runtime
	@$(BIN)/pybabel -q compile -f -D django -d locale
