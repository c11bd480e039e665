# Jikai: `make help` lists what there is.
TARGET := $(or $(CARGO_TARGET_DIR),target)
ARGS ?=

.PHONY: help build demo test deny bench fmt

help: ## List the commands
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

build: ## Build hub, node and simulator in release mode
	cargo build --release -p jikai-hub -p jikai-node -p jikai-sim

demo: build ## Run one hub, eleven nodes and 20,000 terminals; ARGS="--terminals 500 --duration 10s" for less
	$(TARGET)/release/jikai-sim demo $(ARGS)

test: ## Set up what is missing, then format check, lints and all tests; ends with `N passed, N failed`
	@tests/all.sh

deny: ## Check licences, bans, sources and known holes of all dependencies; installs cargo-deny if it is missing
	@tests/deny.sh

bench: ## Measure a node's writer, the hub's ingest and its replication beside bare loops of the same writes
	cargo bench -p jikai-node
	cargo bench -p jikai-hub

fmt: ## Format the code
	cargo fmt --all
