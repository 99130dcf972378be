# What is done often. `make help` lists it.

CARGO ?= cargo
# How benchmarks are built; `profiling` builds faster and runs nearly as fast.
PROFILE ?= release
# Further arguments, as in: make run ARGS="--port 9000"
ARGS ?=
# How long `make power`, `make soak` and `make histories` are.
IMAGES ?= 5000
MESSAGES ?= 4000
MINUTES ?= 10
HISTORIES ?= 10000
# How many troubles `make chaos` makes three nodes.
CYCLES ?= 100

.DEFAULT_GOAL := help
.PHONY: help run test services-up services-down conformance campaign power chaos histories soak lint fmt bench migrate-up migrate-down mongo-indexes

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Serve in development mode, with demo users, on http://127.0.0.1:8080
	$(CARGO) run -p wa-server -- --dev $(ARGS)

test: ## Run all tests, those in the documentation included; those that need a backend where this machine can have it
	$(CARGO) test --workspace --all-features $(ARGS)
	deploy/services/services.sh with sh -c '$(CARGO) test --workspace --all-features --lib --tests $(ARGS) -- --ignored $$WA_SERVICES'

conformance: ## Run every case of every port on every backend, and write docs/conformance.md
	deploy/services/services.sh with sh -c '$(CARGO) test --workspace --all-features --test conformance -- --include-ignored --skip hostile >target/conformance.log; \
	$(CARGO) test --workspace --all-features --test e2e -- --include-ignored nats::conformance:: nats::memory:: >>target/conformance.log; true'
	awk -f docs/conformance.awk target/conformance.log >docs/conformance.md

services-up: ## Start the backends that tests use, or some (SERVICES="postgres redis"), and say how to reach them
	@deploy/services/services.sh up $(SERVICES)

services-down: ## End them, and remove their data
	@deploy/services/services.sh down

campaign: ## Run the long forms of the checks of reliability (KILLS=2000 SEED=1); goes on where it was interrupted
	WA_CAMPAIGN_KILLS=$(KILLS) WA_CAMPAIGN_SEED=$(SEED) $(CARGO) test -p wa-server --all-features --test chaos $(ARGS) -- --ignored --nocapture --test-threads 1 crash::

power: ## Look for losses in simulated power failures, and try failing disks (IMAGES=5000 MESSAGES=4000 SEED=1)
	WA_POWER_IMAGES=$(IMAGES) WA_POWER_MESSAGES=$(MESSAGES) WA_CAMPAIGN_SEED=$(SEED) $(CARGO) test -p wa-server --all-features --test chaos $(ARGS) -- --include-ignored --nocapture --test-threads 2 power:: disk::

chaos: ## Run the long forms of the checks of order, revocation, bounds, reconnecting and of three nodes (CYCLES=100 SEED=1)
	WA_ORDER_MESSAGES=1000 WA_RACES=1000 WA_BOUND_READERS=1000 WA_BOUND_SECONDS=10 WA_STORM=5000 \
	$(CARGO) test --workspace --all-features --test chaos -- order:: races:: bounds:: storm:: --nocapture --test-threads=1 $(ARGS)
	WA_REQUIRE_SERVICES=1 deploy/services/services.sh with env WA_CYCLES=$(CYCLES) WA_CAMPAIGN_SEED=$(SEED) \
	$(CARGO) test --workspace --all-features --test chaos -- --ignored cluster:: --nocapture --test-threads=1 $(ARGS)

histories: ## Simulate random histories, and replay one that fails (HISTORIES=10000 SEED=1)
	WA_HISTORIES=$(HISTORIES) WA_CAMPAIGN_SEED=$(SEED) $(CARGO) test --workspace --all-features --test chaos -- simulation:: --nocapture $(ARGS)

soak: ## Run mixed traffic with churn for MINUTES, and report what grows
	WA_SOAK_SECONDS=$$(($(MINUTES) * 60)) $(CARGO) test --workspace --all-features --test chaos -- soak:: --nocapture --test-threads=1 $(ARGS)

lint: ## Check formatting, lints and documentation, with warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --all-features --no-deps

fmt: ## Format the code
	$(CARGO) fmt --all

bench: ## Measure delivery and uploads beside bare relays and copies, then the core and the stores, in about six minutes
	$(CARGO) build --profile $(PROFILE) -p wa-server -p wa-benches --bin wa-server --bin delivery --bin media
	target/$(PROFILE)/delivery $(ARGS)
	target/$(PROFILE)/media $(ARGS)
	$(CARGO) bench --profile $(PROFILE) -p wa-benches --benches -- --warm-up-time 1 --measurement-time 3

migrate-up: ## Make or complete the tables of the configured database
	$(CARGO) run -q -p wa-server -- migrate up $(ARGS)

mongo-indexes: ## Make the indexes of the MongoDB that storage.messages names
	$(CARGO) run -q -p wa-server -- migrate mongo-indexes $(ARGS)

migrate-down: ## Drop all tables of the configured database, and everything in them
	$(CARGO) run -q -p wa-server -- migrate down --yes $(ARGS)
