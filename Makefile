# The front door: `make help` lists what there is. `make check` is everything a merge needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.NOTPARALLEL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APT := python3-venv kmod iproute2 nftables conntrack runc containernetworking-plugins openssl arping iputils-ping ca-certificates procps util-linux
# For tests, in namespaces: installing them starts none on this machine, now or at its next boot.
ROUTERS := frr bird2 gobgpd
SOURCES := lbctl speaker tests docs

.PHONY: help setup system format lint types arch test property sim netns cluster manifests drift binaries bench soak demo check clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: system $(VENV)/.ready ## Install the system packages and the pinned Python packages

system:
	@missing=(); for p in $(APT) $(ROUTERS); do dpkg-query -W -f '$${db:Status-Status}' "$$p" 2>/dev/null | grep -qx installed || missing+=("$$p"); done; \
	if [ $${#missing[@]} -gt 0 ]; then \
	  echo "installing system packages: $${missing[*]}" >&2; \
	  if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then echo "cannot install them here; as root on Debian: apt-get install $${missing[*]}" >&2; exit 2; fi; \
	  quiet=/usr/sbin/policy-rc.d; if [ ! -e $$quiet ]; then trap "rm -f $$quiet" EXIT; printf '#!/bin/sh\nexit 101\n' >$$quiet; chmod 755 $$quiet; fi; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}"; } >/tmp/lbctl-apt.log 2>&1 || { tail -n 20 /tmp/lbctl-apt.log >&2; exit 2; }; \
	  for unit in frr bird gobgpd; do case " $${missing[*]} " in *" $$unit"*) systemctl disable $$unit.service >/dev/null 2>&1 || true;; esac; done; \
	fi

$(VENV)/.ready: constraints.txt pyproject.toml
	@echo "installing the pinned Python packages into $(VENV)" >&2
	@# Without python3-venv, or interrupted, venv leaves a python without pip behind.
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { echo "cannot make $(VENV): \`make setup\` as root installs what is missing" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

format: $(VENV)/.ready ## Write the code in the one format
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

lint: $(VENV)/.ready ## Rules of style and correctness
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)

types: $(VENV)/.ready ## mypy, strict
	$(BIN)/mypy

arch: $(VENV)/.ready ## Who may import whom (.importlinter)
	$(BIN)/lint-imports --no-cache

test: setup ## Unit tests and transcripts: the inner loop
	$(BIN)/pytest tests/unit tests/transcripts

property: setup ## Laws over all inputs
	$(BIN)/pytest tests/property

sim: setup ## Replicas frozen, cut off and killed on simulated time
	$(BIN)/pytest tests/simulation

netns: setup ## The kernel and real tools agree, in namespaces
	$(BIN)/pytest tests/netns

binaries: setup ## Find or build the cluster's binaries (minutes, once; cached outside the checkout)
	$(BIN)/python -m lbctl.lab.binaries

cluster: setup binaries ## The whole product on the lab
	$(BIN)/pytest tests/cluster

manifests: $(VENV)/.ready ## Generate CRDs and reference pages from the code
	$(BIN)/python -m docs.generate

drift: $(VENV)/.ready ## Fail if a generated file is not what the code says
	$(BIN)/python -m docs.generate --check

check: setup lint types arch drift test property sim netns cluster ## Everything a merge needs

bench: setup binaries ## Measure the figures that the product promises; nothing else may run
	$(BIN)/python -m tests.bench

soak: setup binaries ## 100,000 steps of the allocator, 50 rounds of killed controllers: half an hour
	$(BIN)/python -m tests.soak.histories
	$(BIN)/python -m tests.soak.crashes

demo: setup binaries ## A lab, a Service, an address, an answer
	$(BIN)/lbctl lab demo

clean: ## Remove what make made in the checkout
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
