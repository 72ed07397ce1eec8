# `make run` and `make test` set up what a fresh machine lacks.
.PHONY: run test test-web chaos bench leaks fuzz lint fmt web openapi setup
SHELL := /bin/bash
# Where tools/setup puts a Postgres that it had to fetch.
export LIVEPLAN_PG_FETCHED ?= $(CURDIR)/target/postgres
# The same for the tests of the crate that runs Postgres, which does not know this product.
export EMBEDDED_POSTGRES_FETCHED ?= $(LIVEPLAN_PG_FETCHED)

setup:
	@tools/setup

# With the profile `demo`; releases and `make bench` have `release`, which takes twice as long to build.
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

# Real browsers against the real server.
test-web:
	cargo build --locked
	cd tests/web && npm ci --no-audit --no-fund --silent && npm test

# Ten minutes of faults; `cargo test` runs its short form. CHAOS_SEED=… replays one.
chaos: setup
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} cargo test --locked --test chaos

# The API's description, from which the web app takes its types; a test compares it.
openapi:
	cargo build --locked --quiet
	mkdir -p docs && target/debug/liveplan openapi >docs/openapi.json.new && mv docs/openapi.json.new docs/openapi.json

# With the servers that the hub is compared with, where Node is there.
bench: setup
	@if command -v npm >/dev/null; then cd benches/peers && npm ci --no-audit --no-fund --silent; else \
	  echo "Node is not installed: ws and Socket.IO are left out of the comparison."; fi
	cargo bench --locked --bench live

# 50,000 sockets that come and go: what they leave behind.
leaks: setup
	cargo bench --locked --bench live -- leaks

# A client's bytes: the fuzz target over mutations of its corpus, for a minute.
fuzz: setup
	FUZZ_SECONDS=$${FUZZ_SECONDS:-60} cargo test --locked --test it limits::fuzz

lint:
	cargo clippy --locked --workspace --all-targets -- -D warnings

fmt:
	cargo fmt --all

# Built anew only when its sources have changed, since the binary that embeds it is built anew with it.
web: static/dist/index.html

static/dist/index.html: $(shell find static -path static/node_modules -prune -o -path "static/dist*" -prune -o -type f ! -name schema.ts -print) docs/openapi.json
	@if command -v npm >/dev/null; then cd static && npm ci --no-audit --no-fund && npm run build; else \
	  echo "Node is not installed: the server will run without its pages. Install Node 20 and run make web."; fi
