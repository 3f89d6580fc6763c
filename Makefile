# The commands of this project. Written for GNU make 3.81 and later.

CARGO ?= cargo
BUF := tests/node_modules/.bin/buf

.PHONY: build run test bench soak fmt lint schema-image clean

# Both programs, in target/release.
build:
	$(CARGO) build --release --workspace

# Both programs against REDIS_URL, or against a redis-server of their own with
# its data in ./data. Ctrl-C stops everything.
run: build
	@bash tests/harness/run.sh

# Everything there is to check; the last line is the sum of all test runners.
test:
	@bash tests/scripts/test.sh

# How long each RPC takes, one at a time: p50 and p99.
bench: build
	@bash tests/scripts/setup.sh
	$(CARGO) bench -p roomkeeper-tests --bench rpc_latency

# A minute of fuzzing, then the black-box tests SOAK_ROUNDS times (3).
soak: build
	@bash tests/scripts/soak.sh

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
	rm -rf tests/node_modules
