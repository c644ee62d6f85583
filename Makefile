# Everything that a fresh clone needs: Python 3.11 or newer with pip, git and make. No variable has to be set.

PYTHON := $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)

ifeq ($(PYTHON),)
$(error Python 3.11 or newer was not found on PATH. Install it and try again)
endif

# Companies and test machines have certificate authorities of their own: uv (two names, old and new) and node are
# told to trust what this machine trusts.
UV_SYSTEM_CERTS ?= 1
UV_NATIVE_TLS ?= 1
NODE_EXTRA_CA_CERTS ?= $(wildcard /etc/ssl/certs/ca-certificates.crt)
export UV_SYSTEM_CERTS UV_NATIVE_TLS NODE_EXTRA_CA_CERTS

.PHONY: help venv run test check bench faults sim constraints clean

help:
	@echo 'make run     start the hub on 127.0.0.1:8420 with the manifests of this folder'
	@echo 'make test    run the tests, and say what was skipped'
	@echo 'make check   format, lint, strict types, tests: what CI runs'
	@echo 'make bench   measure the hub beside others, and write the tables that say so'
	@echo 'make sim     run the hub in simulated time, with faults, from 2,000 seeds'
	@echo 'make faults  break things around the hub, and write the table that says what became of it'
	@echo 'make venv    set up .venv only'

# Modules of tests run beside each other, one for each processor.
TESTS = -n auto --dist loadfile

venv: .venv/.installed

run: venv
	@.venv/bin/hub serve --home . --host 127.0.0.1 --port 8420

test: .venv/.installed-test
	@.venv/bin/python -m pytest $(TESTS)

check: .venv/.installed-test .venv/.installed-check
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/python -m pytest $(TESTS)

# `make bench ARGUMENTS=--quick` for a first look.
bench: .venv/.installed-bench
	@.venv/bin/python -m benchmarks $(ARGUMENTS)

# The long tier, half an hour; `make faults ARGUMENTS=--smoke` is the small one.
faults: .venv/.installed-test .venv/.installed-bench
	@.venv/bin/python -m tests.faults --write $(ARGUMENTS)

# `make sim ARGUMENTS='--seed 17'` for one of them again.
sim: .venv/.installed-test
	@.venv/bin/python -m tests.sim $(ARGUMENTS)

.venv/.installed: pyproject.toml constraints.txt hub/__init__.py
	@echo 'Installing what the hub needs into .venv'
	@scripts/install.sh "$(PYTHON)" --editable .
	@touch $@

.venv/.installed-%: .venv/.installed
	@echo 'Installing what "make $*" needs into .venv'
	@scripts/install.sh "$(PYTHON)" --group $*
	@touch $@

.PRECIOUS: .venv/.installed-%

# Dependencies moved: resolve anew in an environment of its own, and write down what was found.
constraints: venv
	@rm -rf .cache/constraints && mkdir -p .cache && "$(PYTHON)" -m venv --without-pip .cache/constraints
	@PATH="$$PATH:.venv/bin" uv pip install --quiet --python .cache/constraints/bin/python \
	    ".[keyring]" uv --group test --group check --group bench
	@{ sed -n '/^#/p' constraints.txt; PATH="$$PATH:.venv/bin" uv pip freeze --quiet \
	    --python .cache/constraints/bin/python | grep -v ' @ '; } > .cache/constraints.txt
	@mv .cache/constraints.txt constraints.txt && rm -rf .cache/constraints
	@git diff --stat constraints.txt

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
