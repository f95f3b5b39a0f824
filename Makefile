# `make` lists the targets.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON_TOOLS := $(CURDIR)/target/python/bin
FUZZ_SECONDS ?= 60
RECORDED_TESTS := scripts:: guards:: recovery:: loading:: life:: windows:: resetting:: acts:: against_a_reference::
.PHONY: help run web test lint test-web test-clients test-typescript test-python test-rust-client fuzz-api fuzz mutants mutants-quota mutants-lua mutants-record docs bench bench-peers torture clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## install what is missing, build, and serve with a Redis and a Postgres of its own
	scripts/install-tools redis-server postgres
	scripts/build-web --if-npm
	cargo run --release --locked --bin headroom -- dev

web: ## build the dashboard, which the next build of the service embeds
	scripts/install-tools npm
	scripts/build-web

test-web: web clients/react/node_modules ## check the React components and the dashboard in a browser, with the real service
	scripts/install-tools redis-server postgres chromium
	cargo build --locked --bin headroom
	npm run --prefix clients/react check
	npm run --prefix clients/react build
	npm run --prefix clients/react test
	npm run --prefix web check
	npm run --prefix web test

test: web lint test-clients fuzz-api test-web ## check everything: lints, house rules, clients, all tests, generated files
	scripts/install-tools redis-server postgres pgbouncer
	cargo test --locked --doc
	cargo test --locked --lib --bins --test tidy
	cargo test --locked --test it

test-clients: test-typescript test-python test-rust-client ## check the clients, their examples and the gateways

test-typescript: clients/typescript/node_modules ## the TypeScript client and its examples, against target/debug/headroom
	scripts/install-tools npm redis-server postgres
	cargo build --locked --bin headroom
	npm run --prefix clients/typescript check
	npm run --prefix clients/typescript drift
	npm test --prefix clients/typescript
	for example in express-chat nextjs-chat; do \
		npm ci --prefix deploy/examples/$$example && npm test --prefix deploy/examples/$$example || exit 1; \
	done

lint: tools/node_modules ## formatting and the lints of Rust, Lua and SQL, with warnings denied
	scripts/install-tools luacheck
	cargo fmt --check
	luacheck --quiet --no-color lua bench/peers/consume.lua
	tools/node_modules/.bin/squawk migrations/*.sql
	cargo clippy --locked --all-targets -- --deny warnings

test-python: target/python/.made ## the Python client, its examples and nginx, against target/debug/headroom
	scripts/install-tools redis-server postgres nginx
	cargo build --locked --bin headroom
	cd clients/python && $(PYTHON_TOOLS)/ruff check . ../../deploy/examples ../../tests ../../bench
	cd clients/python && $(PYTHON_TOOLS)/ruff format --check . ../../deploy/examples ../../tests ../../bench
	cd clients/python && $(PYTHON_TOOLS)/mypy
	cd clients/python && $(PYTHON_TOOLS)/pytest --quiet

fuzz-api: target/python/.made ## call every route in the ways of openapi.json and in others: no 5xx, no answer that it does not know
	scripts/install-tools redis-server postgres
	cargo build --locked --bin headroom
	PYTHONPATH=clients/python $(PYTHON_TOOLS)/python tests/schemathesis/run.py

fuzz: ## fuzz what reads bytes of others, FUZZ_SECONDS=60 for each target; `make test` has a short form
	command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
	for target in fuzz/fuzz_targets/*.rs; do \
		name=$$(basename $$target .rs); mkdir -p target/fuzz/corpus/$$name; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none --target-dir target/fuzz $$name \
			target/fuzz/corpus/$$name fuzz/corpus/$$name -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -verbosity=0 || exit 1; \
	done

mutants-lua: ## put every small mistake into the Lua scripts, and see that each is noticed; BESIDE=60 also by the tests themselves
	scripts/install-tools redis-server postgres
	HEADROOM_MUTANTS=all $(if $(BESIDE),HEADROOM_MUTANTS_BESIDE=$(BESIDE)) \
		cargo test --locked --test it mutants::a_mistake -- --nocapture

mutants-record: ## record anew what the tests tell Redis, by which mutants of the scripts are noticed; TESTS=scripts::loads adds what those notice, OF=TEXT of the mutants with that in their names
	scripts/install-tools redis-server postgres
	rm -rf target/recorded && mkdir -p target/recorded
	HEADROOM_TEST_RECORD=$(CURDIR)/target/recorded HEADROOM_TEST_CASES=2 \
		cargo test --locked --test it -- $(or $(TESTS),$(RECORDED_TESTS))
	HEADROOM_MUTANTS='$(if $(TESTS),$(if $(OF),of:$(OF),unseen),all)' HEADROOM_MUTANTS_RECORDED=$(CURDIR)/target/recorded \
		cargo test --locked --test it mutants::a_mistake -- --nocapture

mutants: ## put cargo-mutants' mistakes into src/domain, and see that a test notices each; OPTIONS="--sample 50" and others
	scripts/mutants-rust domain $(OPTIONS)

mutants-quota: ## the same for src/quota, whose tests need servers: some hours without OPTIONS="--sample 100"
	scripts/install-tools redis-server postgres
	scripts/mutants-rust quota $(OPTIONS)

test-rust-client: ## the Rust client, against target/debug/headroom
	scripts/install-tools redis-server postgres
	cargo build --locked --bin headroom
	cd clients/rust && cargo fmt --check
	cd clients/rust && CARGO_TARGET_DIR=$(CURDIR)/target cargo clippy --locked --all-targets -- --deny warnings
	cd clients/rust && CARGO_TARGET_DIR=$(CURDIR)/target cargo test --locked

docs: clients/typescript/node_modules ## write the generated files again
	cargo build --locked --bin headroom
	cargo run --quiet --locked --bin headroom -- config-docs > docs/CONFIG.md
	cargo run --quiet --locked --bin headroom -- openapi > openapi.json
	npm run --prefix clients/typescript generate

bench: ## measure requests a second and latency, beside a handler that does nothing
	scripts/install-tools redis-server postgres
	cargo build --release --locked
	target/release/headroom-bench

torture: ## break real processes by a seed, again and again, and prove that no promise is broken
	scripts/install-tools redis-server postgres pgbouncer
	cargo build --release --locked --bin headroom --bin headroom-torture
	target/release/headroom-torture

bench-peers: target/peers-python/.made bench/peers/fastify/node_modules ## measure beside what people use today; OPTIONS="--rounds 5 --record" and others
	scripts/install-tools redis-server postgres wrk
	cargo build --release --locked
	bench/peers/limitador/build
	PYTHONDONTWRITEBYTECODE=1 python3 bench/peers/run.py $(OPTIONS)

clean: ## remove everything that was built
	cargo clean
	rm -rf tools/node_modules bench/peers/fastify/node_modules clients/*/node_modules clients/*/dist deploy/examples/*/node_modules web/node_modules web/dist/site

clients/react/node_modules: clients/react/package-lock.json
	npm ci --prefix clients/react --no-audit --no-fund
	touch $@

tools/node_modules: tools/package-lock.json
	scripts/install-tools npm
	npm ci --prefix tools
	touch $@

target/python/.made: clients/python/requirements-dev.txt tests/schemathesis/requirements.txt clients/python/pyproject.toml
	rm -rf target/python
	python3 -m venv target/python
	$(PYTHON_TOOLS)/pip install --quiet --disable-pip-version-check -r clients/python/requirements-dev.txt \
		-r tests/schemathesis/requirements.txt
	$(PYTHON_TOOLS)/pip install --quiet --disable-pip-version-check --no-deps --editable clients/python
	touch $@

target/peers-python/.made: bench/peers/fastapi/requirements.txt
	rm -rf target/peers-python
	python3 -m venv target/peers-python
	target/peers-python/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

bench/peers/fastify/node_modules: bench/peers/fastify/package-lock.json
	scripts/install-tools npm
	npm ci --prefix bench/peers/fastify
	touch $@

clients/typescript/node_modules: clients/typescript/package-lock.json
	scripts/install-tools npm
	npm ci --prefix clients/typescript
	touch $@
