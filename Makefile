# The commands of this project. Written for GNU make 3.81 and later.

CARGO ?= cargo
BUF := tests/node_modules/.bin/buf
WEB := edge-gateway/web
CLIENT := $(WEB)/dist/index.html
CLIENT_PACKAGES := $(WEB)/node_modules/.package-lock.json
CLIENT_SOURCES := $(shell find $(WEB) \( -name node_modules -o -name dist \) -prune -o -type f -print)

.PHONY: build client web run test bench soak pictures fmt lint schema-image clean

# Both programs, in target/release, the web client in the gateway.
build: client
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

# The web client's dev server, in front of the gateway at GATEWAY_URL
# (http://127.0.0.1:4000), which `make run` starts.
web: $(CLIENT_PACKAGES)
	npm --prefix $(WEB) run dev

# Both programs, with rooms in ./data, or in the Redis of REDIS_URL. Ctrl-C stops
# both.
run: build
	@bash tests/harness/run.sh

# Everything there is to check; the last line is the sum of all test runners.
test:
	@bash tests/scripts/test.sh

# Both programs under load beside a common Node server, about a quarter of an hour;
# writes docs/performance.md. BENCH_ONLY=chat,join runs some parts (chat crowd join visit
# board idle service growth footprint instructions hot_paths rpc), BENCH_RUNS=1 fewer runs.
bench: build
	@bash tests/scripts/bench.sh

# A minute of fuzzing, then every fault, alone and mixed, for SOAK_MINUTES (20). What
# fails prints SEED and EPISODE, with which it is played again.
soak: build
	@bash tests/scripts/soak.sh

# The README's pictures, taken anew.
pictures: build
	@bash tests/scripts/setup.sh browser
	cd tests && node browser/pictures.mjs

fmt: $(BUF)
	$(CARGO) fmt --all
	$(BUF) format --write

lint: $(BUF)
	$(CARGO) fmt --all --check
	$(BUF) lint
	$(BUF) format --diff --exit-code
	$(BUF) breaking --against proto/roomkeeper.binpb
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# `buf breaking` compares the schema with this image. Renew it when the schema
# has grown; where it would break a caller, the commit says why.
schema-image: $(BUF)
	$(BUF) build -o proto/roomkeeper.binpb

$(BUF): tests/package-lock.json
	npm --prefix tests ci --ignore-scripts --no-audit --no-fund

clean:
	$(CARGO) clean
	rm -rf tests/node_modules $(WEB)/node_modules
	find $(WEB)/dist -mindepth 1 ! -name .gitkeep -delete
