# What this file does is for people; CI calls the same targets. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
export CARGO_TERM_COLOR ?= auto

ARGS ?=

.PHONY: help run test bench prove-crash prove-dkim prove-return setup fmt clippy doc unit

help: ## Lists the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 20

run: ## Sets up what is needed, builds and starts Sluice; ARGS=--sandbox sends nothing to the network
	@deploy/dev/setup.sh --run
	cargo build --locked --profile quick --package sluice
	@exec "$$(deploy/dev/target-dir.sh)/quick/sluice" run $(ARGS)

test: ## Sets up what the tests need and runs every gate: format, lints, tests, documentation
	@deploy/dev/setup.sh --test
	$(MAKE) --no-print-directory fmt clippy unit doc

fmt:
	cargo fmt --all --check

clippy:
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit:
	cargo test --workspace --locked

doc:
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --workspace --locked

bench: ## Measures Sluice, Postfix and the ceiling side by side; ARGS=--help tells more
	@deploy/dev/setup.sh --test
	cargo build --locked --release --package sluice --package sluice-benches
	@"$$(deploy/dev/target-dir.sh)/release/compare" $(ARGS)

prove-crash: ## Kills Sluice under load, at random and at each step of a bounce, and counts what became of the mail
	@deploy/dev/setup.sh --run
	cargo build --locked --release --package sluice --package sluice-tests
	@"$$(deploy/dev/target-dir.sh)/release/prove-crash" $(ARGS)

prove-dkim: ## Has dkimpy verify what Sluice signs, with keys from real zones, whatever happens to it on the way
	@deploy/dev/setup.sh --test
	cargo build --locked --release --package sluice --package sluice-tests
	@"$$(deploy/dev/target-dir.sh)/release/prove-dkim" $(ARGS)

prove-return: ## Sends mail into every trouble, with real peers, and checks what became of it; ARGS=--help tells more
	@deploy/dev/setup.sh --test
	cargo build --locked --release --package sluice --package sluice-tests
	@"$$(deploy/dev/target-dir.sh)/release/prove-return" $(ARGS)

setup: ## Installs all that building and testing need, and nothing that is there
	@deploy/dev/setup.sh --test
