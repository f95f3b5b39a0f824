# `make` lists the targets.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run web test-web test lint docs bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

test: lint ## check everything: lints, house rules, all tests, generated files
	scripts/install-tools redis-server postgres
	cargo test --locked --doc
	cargo test --locked --lib --bins --test tidy
	cargo test --locked --test it

lint: tools/node_modules ## formatting and the lints of Rust, Lua and SQL, with warnings denied
	scripts/install-tools luacheck
	cargo fmt --check
	luacheck --quiet --no-color lua
	tools/node_modules/.bin/squawk migrations/*.sql
	cargo clippy --locked --all-targets -- --deny warnings

docs: ## write the generated files again
	cargo build --locked --bin headroom
	cargo run --quiet --locked --bin headroom -- config-docs > docs/CONFIG.md
	cargo run --quiet --locked --bin headroom -- openapi > openapi.json

bench: ## measure requests a second and latency, beside a handler that does nothing
	scripts/install-tools redis-server postgres
	cargo build --release --locked
	target/release/headroom-bench

clean: ## remove everything that was built
	cargo clean
	rm -rf tools/node_modules clients/react/node_modules clients/react/dist web/node_modules web/dist/site

clients/react/node_modules: clients/react/package-lock.json
	npm ci --prefix clients/react --no-audit --no-fund
	touch $@

tools/node_modules: tools/package-lock.json
	scripts/install-tools npm
	npm ci --prefix tools
	touch $@
