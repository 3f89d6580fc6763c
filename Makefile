# The commands of this project. Written for GNU make 3.81 and later.

CARGO ?= cargo
BUF := tests/node_modules/.bin/buf
WEB := edge-gateway/web
CLIENT := $(WEB)/dist/index.html
CLIENT_PACKAGES := $(WEB)/node_modules/.package-lock.json
CLIENT_SOURCES := $(shell find $(WEB) \( -name node_modules -o -name dist \) -prune -o -type f -print)

.DEFAULT_GOAL := build
.PHONY: help build client run dev web check lint test deny fmt schema-image bench soak soak-browsers pictures clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: client ## build both programs in target/release, with the web client in the gateway
	$(CARGO) build --release --workspace

# The web client, for the gateway's next build. Without Node 20.19 or later and npm
# the gateway serves a small page instead.
NODE_FITS := $(shell command -v npm >/dev/null && node -e 'const [a, b] = process.versions.node.split("."); console.log(a > 20 || (a == 20 && b >= 19))' 2>/dev/null)
ifeq ($(NODE_FITS),true)
client: $(CLIENT)
else
client:
	@echo "Without Node 20.19 or later and npm the gateway serves its small page, not the web client." >&2
endif

$(CLIENT): $(CLIENT_SOURCES) $(CLIENT_PACKAGES)
	npm --prefix $(WEB) run build

$(CLIENT_PACKAGES): $(WEB)/package-lock.json
	npm --prefix $(WEB) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

web: $(CLIENT_PACKAGES) ## the client's dev server alone, before the gateway at GATEWAY_URL
	npm --prefix $(WEB) run dev

# Rooms are in ./data, or in the Redis of REDIS_URL. The profile `quick` leaves out
# link-time optimisation, which takes longer than all the rest.
run: client ## build quickly and start both programs; Ctrl-C stops them
	$(CARGO) build --profile quick --workspace
	@bash scripts/run.sh quick

dev: $(CLIENT_PACKAGES) ## debug builds and the client's dev server, rebuilt on change
	@node scripts/dev.mjs

# What to run before each commit: all but the tests that need release builds or a browser.
check: lint $(CLIENT_PACKAGES) ## format, lints, schema, types, unit and integration tests
	@bash tests/scripts/setup.sh
	npm --prefix $(WEB) run check
	npm --prefix $(WEB) test
	$(CARGO) test --workspace

test: ## run every check and every test; the last line is their sum
	@bash tests/scripts/test.sh

deny: ## check licences and bans of the dependencies; installs cargo-deny first (about 8 minutes)
	$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --config .deny.toml check bans licenses sources

# BENCH_ONLY=chat,join runs some parts (chat crowd join visit board idle service growth
# footprint instructions hot_paths rpc), BENCH_RUNS=1 fewer runs.
bench: build ## measure beside a common Node server (15 minutes); writes docs/performance.md
	@bash tests/scripts/bench.sh

# What fails prints SEED and EPISODE, with which it is played again.
soak: build ## fuzz, then play every fault for SOAK_MINUTES (20)
	@bash tests/scripts/soak.sh

# What fails prints SEED and ROUND, with which it is played again.
soak-browsers: build ## let two browsers draw at random for SOAK_MINUTES (30) and compare all boards
	@bash tests/scripts/soak-browsers.sh

pictures: build ## take the pictures of the README again
	@bash tests/scripts/setup.sh browser
	cd tests && node browser/pictures.mjs

fmt: $(BUF) ## format Rust and the schema
	$(CARGO) fmt --all
	$(BUF) format --write

lint: $(BUF) ## check format and lints
	$(CARGO) fmt --all --check
	$(BUF) lint
	$(BUF) format --diff --exit-code
	$(BUF) breaking --against proto/roomkeeper.binpb
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# `buf breaking` compares the schema with this image. Renew it when the schema
# has grown; where it would break a caller, the commit says why.
schema-image: $(BUF) ## renew the image of the schema
	$(BUF) build -o proto/roomkeeper.binpb

$(BUF): tests/package-lock.json
	npm --prefix tests ci --ignore-scripts --no-audit --no-fund

clean: ## remove what was built
	$(CARGO) clean
	rm -rf tests/node_modules $(WEB)/node_modules
	find $(WEB)/dist -mindepth 1 ! -name .gitkeep -delete
