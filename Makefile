# Everything that is done with this package, by one command each. `make` alone lists them.

export SWIFT ?= swift
CONFIGURATION ?= debug
# The directory that `make run` serves.
DIR ?= Sources
DESCRIPTORS ?= 1000
CANCELLATIONS ?= 200

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
SOURCES := Package.swift Sources Tests Examples Benchmarks
BROKER := --package-path Examples --configuration $(CONFIGURATION)

.DEFAULT_GOAL := help
.PHONY: help setup build run test test-release test-tsan test-asan test-sysctl interop storm schedules fuzz bench bench-instructions bench-codec ci format lint clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "make %-19s %s\n", $$1, $$2 }'

setup: ## Install what is missing: liburing's development files, and python3 for the tests
	@if ! pkg-config --exists liburing 2>/dev/null || ! command -v python3 >/dev/null; then \
	  command -v apt-get >/dev/null || { echo "install pkg-config, liburing's development files and python3, then try again" >&2; exit 1; }; \
	  $(SUDO) apt-get update && $(SUDO) apt-get install --yes --no-install-recommends pkg-config liburing-dev python3; \
	fi

build: setup ## Build the library and its tests
	$(SWIFT) build --build-tests --configuration $(CONFIGURATION)

run: setup ## Run the fd-broker example on the files below DIR (default: Sources)
	$(SWIFT) build $(BROKER) --product fd-broker
	@"$$($(SWIFT) build $(BROKER) --show-bin-path)/fd-broker" demo --root "$(DIR)" \
	  --descriptors $(DESCRIPTORS) --cancellations $(CANCELLATIONS)

test: setup ## Run all tests in debug, on both drivers, with python3 as a foreign peer, and those of the examples
	Tests/run
	$(SWIFT) test --disable-xctest --no-parallel --package-path Examples

test-release: setup ## Run the library's tests with optimisation
	Tests/run --configuration release -Xswiftc -enable-testing

# A simulated kernel has one thread, and tells the sanitizer little.
test-tsan: setup ## Run the library's tests under ThreadSanitizer
	SCHEDULES=200 Tests/run --sanitize thread --scratch-path .build-tsan

test-asan: setup ## Run the library's tests under AddressSanitizer
	ASAN_OPTIONS=detect_leaks=0 Tests/run --sanitize address --scratch-path .build-asan

test-sysctl: setup ## Run the test that turns io_uring off for the whole machine for a moment (root)
	MESSAGE_SOCKETS_TEST_SYSCTL=1 $(SWIFT) test --disable-xctest --no-parallel --filter theSystemControlForbidsIt | tee /dev/stderr | grep -q 'Test run with 1 test'

interop: setup ## Install the foreign peers (Go, GLib, Node, dbus-daemon, systemd …) and run the tests that talk to them; PEERS chooses
	Tests/Interop/run $(PEERS)

storm: setup ## Thousands of sockets, cancelled, closed and shut down at random for DURATION seconds (60); SEED=… replays
	$(SWIFT) build --product Storm
	@"$$($(SWIFT) build --show-bin-path)/Storm" --duration $(or $(DURATION),60) $(if $(SEED),--seed $(SEED))

schedules: setup ## Run the engine over a simulated kernel: SCHEDULES (100000) from SEED on, by default a new one
	$(SWIFT) build --build-tests
	SCHEDULES=$(or $(SCHEDULES),100000) SEED=$(or $(SEED),$(shell date +%s)000000) \
	  $(SWIFT) test --skip-build --disable-xctest --no-parallel --filter FaultInjection

fuzz: setup ## Fuzz codecs, the receive path over a hostile kernel, and hostile peers, for DURATION seconds (60), a third each
	Fuzz/run $(or $(DURATION),60)

# CASES chooses cases, with * and ?; `python3 Benchmarks/Runner --help` names the rest.
bench: setup ## Measure beside C, Rust, Go and other Swift libraries; QUICK=1 takes a minute
	python3 Benchmarks/Runner $(if $(QUICK),--quick) $(CASES)

bench-instructions: ## Count the instructions of a message beside C, by valgrind (after make bench)
	python3 Benchmarks/Runner/instructions.py

bench-codec: setup ## Time encoding and decoding beside C
	Benchmarks/Codec/run

ci: ## Do what CI does
	.ci/run

format: ## Format all Swift code
	$(SWIFT) format --in-place --parallel --recursive $(SOURCES)

lint: ## Check the format of all Swift code, and that every test named in a table exists
	$(SWIFT) format lint --strict --parallel --recursive $(SOURCES)
	.ci/named-tests

clean: ## Remove what was built
	rm -rf .build .build-tsan .build-asan Examples/.build Fuzz/.build Benchmarks/*/.build
