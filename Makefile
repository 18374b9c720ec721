# What this repository can do; `make` alone lists it.

PYTHON ?= python3
BIN = .venv/bin
# What starts no service stands in these folders, and pytest need not read the others. A fork has
# its own tests in own/.
FAST = $(BIN)/pytest -n auto --dist loadgroup -m "not full" tests/answers tests/rendered $(wildcard own)

# Where it is set, each of a thousand programs that tests start compiles all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-fast test-rest test-servers test-all test-mutations soak bench bench-overload lint fix lock release clean
.DELETE_ON_ERROR:

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: packages-demo .venv/ready ## Make a service with the default answers and run it: http://localhost:8080
	$(BIN)/cookiecutter . --default-config --no-input --overwrite-if-exists --output-dir demo > /dev/null
	$(MAKE) -C demo/my-service setup
	@$(MAKE) --no-print-directory demo/password
	@echo "Log in as demo with the password $$(cat demo/password)"
	$(MAKE) -C demo/my-service stack

# Made once: the account and its database stay until `make clean`.
demo/password:
	@umask 077; $(PYTHON) -c 'import secrets; print(secrets.token_urlsafe(12))' > $@.new
	@cd demo/my-service && .venv/bin/my-service user add demo --password-stdin < ../password.new
	@mv $@.new $@

test: packages-test .venv/ready ## Install missing programs, test the files and the running service
	$(FAST)
	$(BIN)/pytest -n 2 --dist loadgroup -m "full and not soak and not rest"

test-fast: .venv/ready ## Test the files, without a service
	$(FAST)

test-all: packages-servers test test-rest test-servers ## Run every test

# Load wants a machine that does nothing else, so it comes one after another.
test-rest: packages-test .venv/ready ## Test other Python versions in full, load and faults
	$(BIN)/pytest -n 2 --dist loadgroup -m rest
	$(BIN)/pytest -m "full and soak"

test-servers: packages-servers .venv/ready ## Deploy to Debian servers in containers on this machine; needs root
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m servers

test-mutations: packages-test .venv/ready ## Break each feature and check that its tests fail
	@$(BIN)/python -m tests.mutations

soak: packages-soak .venv/ready ## Test generated services under load and faults for longer; needs an idle machine
	SOAK=1 $(BIN)/pytest -m soak -rP

bench: packages-bench .venv/ready ## Compare the generated service with Tornado and nginx alone; print tables
	@PYTHONPATH=. $(BIN)/python benchmarks/run.py

bench-overload: packages-overload .venv/ready ## Offer more requests than can be answered; prints a table
	@PYTHONPATH=. $(BIN)/python benchmarks/overload.py

# They come before all else: sudo may ask for a password, and nothing long has begun by then.
servers = dockerd docker-compose debootstrap ssh ip
packages-demo: needed = nginx
packages-test: needed = nginx haproxy chromium node npm libatomic.so.1 slowhttptest initdb pgbouncer systemd-analyze prometheus
packages-servers: needed = $(servers)
packages-soak: needed = nginx haproxy
packages-bench: needed = nginx wrk
packages-overload: needed = nginx haproxy initdb
packages-%:
	@bash tests/install-system-packages $(needed)

lint: .venv/ready ## Check formatting and style; change nothing
	$(BIN)/ruff format --check
	$(BIN)/ruff check

fix: .venv/ready ## Correct formatting and style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: .venv/ready ## Update all locked requirements, the project's too
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-header \
		--python-version 3.11 --group dev --output-file requirements.txt
	$(BIN)/python -m tests.relock

release: .venv/ready ## Prepare the release of the version in cookiecutter.json
	@$(BIN)/python -m tests.release

clean: ## Remove what these targets made
	rm -rf .venv .cache demo
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/ready: requirements.txt
	@$(PYTHON) '<<cookiecutter.project_slug>>/deploy/venv' .venv requirements.txt
	@touch $@
