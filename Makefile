# `make run` and `make test` install the missing dependencies on a fresh machine.
.PHONY: run test test-web chaos bench leaks fuzz lint fmt web openapi setup
SHELL := /bin/bash
# Directory into which tools/setup downloads Postgres if the system has none.
export LIVEPLAN_PG_FETCHED ?= $(CURDIR)/target/postgres
# The same directory, for the tests of the crate embedded-postgres, which has its own variable.
export EMBEDDED_POSTGRES_FETCHED ?= $(LIVEPLAN_PG_FETCHED)

setup:
	@tools/setup

# Uses the profile `demo`. Releases and `make bench` use `release`, which takes twice as long to build.
run: setup web
	cargo build --profile demo --locked
	target/demo/liveplan demo

test:
	@tools/setup test
	@tools/sdk
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	cargo test --locked --workspace
	tools/conformance
	python3 -m unittest discover -s tools/foods
	cd static && npm run check && npm test
	$(MAKE) --no-print-directory web
	$(MAKE) --no-print-directory test-web

# Tests of the web app: a real browser against the real server.
test-web:
	cargo build --locked
	cd tests/web && npm ci --no-audit --no-fund --silent && npm test

# Ten minutes of injected faults; `cargo test` runs a short version. CHAOS_SEED=… replays a run.
chaos: setup
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} cargo test --locked --test chaos

# Writes docs/openapi.json, from which the web app generates its types. A test compares it with the routes.
openapi:
	cargo build --locked --quiet
	mkdir -p docs && target/debug/liveplan openapi >docs/openapi.json.new && mv docs/openapi.json.new docs/openapi.json

# Benchmarks the hub, and compares it with ws and Socket.IO if Node is installed.
bench: setup
	@if command -v npm >/dev/null; then cd benches/peers && npm ci --no-audit --no-fund --silent; else \
	  echo "Node is not installed: the comparison leaves out ws and Socket.IO."; fi
	cargo bench --locked --bench live

# Opens and closes 50,000 sockets, and measures the memory that stays in use.
leaks: setup
	cargo bench --locked --bench live -- leaks

# Runs the fuzz target on mutations of its corpus of client messages, for a minute.
fuzz: setup
	FUZZ_SECONDS=$${FUZZ_SECONDS:-60} cargo test --locked --test it limits::fuzz

lint:
	cargo clippy --locked --workspace --all-targets -- -D warnings

fmt:
	cargo fmt --all

# Rebuilt only if its sources have changed, since each rebuild also rebuilds the binary that embeds it.
web: static/dist/index.html

static/dist/index.html: $(shell find static -path static/node_modules -prune -o -path "static/dist*" -prune -o -type f ! -name schema.ts -print) docs/openapi.json
	@if command -v npm >/dev/null; then cd static && npm ci --no-audit --no-fund && npm run build; else \
	  echo "Node is not installed: the server will run without the web app. Install Node 20 or later and run make web."; fi
