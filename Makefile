# `make` alone lists the commands. They make the virtual environment by themselves, and again when its
# requirements change or another PYTHON is named: PYTHON=python3.12 make run
PYTHON ?= python3
VENV ?= .venv
PIN = $(abspath $(VENV))/bin/uv pip compile --quiet $(PIN_ARGS) --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make requirements"
# Which tests `make test` runs; CI sets it to nothing, and so runs all.
TESTS ?= not long
# Make looks at the dates of files, so this one stands for the environment; its name, for the Python it was made with.
READY = $(VENV)/made-with-$(subst /,_,$(PYTHON))

.PHONY: help run check test yours lint audit bench figure requirements upstream upgrade rename

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

run: $(READY) ## run everything without Docker, at http://127.0.0.1:5000; Ctrl-C stops it
	@$(VENV)/bin/python project/local.py

check: lint yours ## check what is yours, in a minute: its style, its types, its tests

test: yours ## run your tests and all others but the long ones, or some: PYTEST_ARGS="-k word"
	$(VENV)/bin/python -m pytest -n 3 -m "$(TESTS)" $(PYTEST_ARGS)

yours: $(READY)
	$(VENV)/bin/python -m pytest -m "$(TESTS)" project/tests/yours

lint: $(READY) ## check style, types, the Lua scripts and the Dockerfile
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python project/tests/lint_lua.py
	$(VENV)/bin/hadolint project/Dockerfile

audit: $(READY) ## ask PyPI for known weaknesses of the packages in the image
	$(VENV)/bin/uvx pip-audit@2.9.0 --strict --disable-pip --require-hashes --requirement project/requirements.txt

bench: $(READY) ## measure what ours cost beside what others use, or some of it: BENCH="jobs status"
	$(VENV)/bin/python project/benchmarks/bench.py $(BENCH)

figure: $(READY) ## make the pictures in figure/ anew, in a real browser
	$(VENV)/bin/python project/tests/browser/figure.py

requirements: $(READY) ## pin what requirements*.in name; only what is needed for a change of these changes
	cd project && $(PIN) requirements.in -o requirements.txt
	cd project && $(PIN) requirements-dev.in -o requirements-dev.txt
	cd project/benchmarks && $(PIN) peers.in -o peers.txt
	@$(MAKE) --no-print-directory upstream

# Says in words which parts of others, that we change or rely on, an upgrade has changed. In a run of make of its own,
# since the requirements have changed: so the environment is made anew first.
upstream: $(READY)
	@$(VENV)/bin/python -m pytest -q --no-header --tb=line project/tests/test_upstream.py

upgrade: ## raise the pinned versions of all packages
	$(MAKE) requirements PIN_ARGS=--upgrade

rename: ## change what people see of the project's name: NAME="My tools"
	@$(PYTHON) bin/rename_project.py "$(NAME)"

$(READY): project/requirements.txt project/requirements-dev.txt
	@found=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
	case "$$found" in 3.11|3.12|3.13) ;; *) \
		echo "Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is $${found:-missing}. Set PYTHON=..." >&2; exit 1 ;; esac
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) lacks its module venv; on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV), which takes a minute, once"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r project/requirements.txt -r project/requirements-dev.txt
	@touch $@
