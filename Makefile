# Everything that is done with this package, by one command each. `make` alone lists them.

export SWIFT ?= swift
CONFIGURATION ?= debug
# The directory that `make run` serves.
DIR ?= Sources
DESCRIPTORS ?= 1000
# Where `make install` puts things.
PREFIX ?= /usr/local
CANCELLATIONS ?= 200

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
SOURCES := Package.swift Sources Tests Examples Integrations Benchmarks Fuzz Tools
# The examples are a package of their own, built beside the library, which is compiled once. The
# plan of the last build may be the other package's, and is made anew. SCRATCH and OPTIONS let CI
# build them in release beside the optimised tests.
SCRATCH ?= .build
OPTIONS ?=
BROKER = --package-path Examples --scratch-path $(SCRATCH) --disable-build-manifest-caching --configuration $(CONFIGURATION) $(OPTIONS)
INTEGRATIONS := --package-path Integrations --scratch-path .build-integrations

.DEFAULT_GOAL := help
.PHONY: help setup build run hot-restart frames console privilege-separation test test-release test-tsan test-asan test-sysctl interop storm storm-varlink schedules fuzz docs mutants bench bench-instructions bench-codec bench-varlink bench-memory ci format install lint clean bench-first-steps test-kernels test-units integrations nio-broker graceful-service observed-server comparison

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

hot-restart: setup ## Run the hot-restart example: ten replacements of a server under load
	$(SWIFT) build $(BROKER) --product hot-restart
	@"$$($(SWIFT) build $(BROKER) --show-bin-path)/hot-restart" demo

frames: setup ## Run the frames example: pictures in sealed memory, from good clients and hostile ones
	$(SWIFT) build $(BROKER) --product frames
	@"$$($(SWIFT) build $(BROKER) --show-bin-path)/frames"

privilege-separation: setup ## Run the privilege-separation example: a parent opens, a child without rights works
	$(SWIFT) build $(BROKER) --product privilege-separation
	@"$$($(SWIFT) build $(BROKER) --show-bin-path)/privilege-separation"

console: setup ## Run the console example: containers that runc starts, and clients that send no terminal
	@if ! command -v runc >/dev/null || ! command -v busybox >/dev/null; then \
	  $(SUDO) apt-get update && \
	  $(SUDO) apt-get install --yes --no-install-recommends runc busybox-static; \
	fi
	$(SWIFT) build $(BROKER) --product console
	@"$$($(SWIFT) build $(BROKER) --show-bin-path)/console"

test: setup ## Run all tests in debug, on both drivers, with python3 as a foreign peer, and those of the examples and of msock
	Tests/run --examples

test-release: setup ## Run the library's tests with optimisation
	Tests/run --configuration release -Xswiftc -enable-testing --scratch-path .build-testable

# A package of its own, in a directory of its own: a trait changes how the library is compiled.
integrations: setup nio-broker graceful-service observed-server ## Run the tests and the examples of the products behind traits (NIO …), on both drivers
	.ci/dependencies
	Tests/run $(INTEGRATIONS)

nio-broker: setup ## Run the nio-broker example on both drivers: a broker passes connections to an HTTP server of SwiftNIO
	@command -v curl >/dev/null || $(SUDO) apt-get install --yes --no-install-recommends curl
	$(SWIFT) build $(INTEGRATIONS) --product nio-broker
	@for driver in automatic epoll; do \
	  MESSAGE_SOCKETS_DRIVER=$$driver "$$($(SWIFT) build $(INTEGRATIONS) --show-bin-path)/nio-broker" || exit 1; \
	done

observed-server: setup ## Run the observed-server example on both drivers: a server whose metrics and logs are looked at
	$(SWIFT) build $(INTEGRATIONS) --product observed-server
	@for driver in automatic epoll; do \
	  MESSAGE_SOCKETS_DRIVER=$$driver "$$($(SWIFT) build $(INTEGRATIONS) --show-bin-path)/observed-server" || exit 1; \
	done

graceful-service: setup ## Run the graceful-service example on both drivers: a server that ends with its service group
	$(SWIFT) build $(INTEGRATIONS) --product graceful-service
	@for driver in automatic epoll; do \
	  MESSAGE_SOCKETS_DRIVER=$$driver "$$($(SWIFT) build $(INTEGRATIONS) --show-bin-path)/graceful-service" || exit 1; \
	done

# A simulated kernel has one thread, and tells the sanitizer little; so do processes that are killed,
# and codecs. Layers above the sockets do not know the driver; on epoll they run without a sanitizer.
ABOVE := FaultInjection|AncillaryTests|ServiceManagementTests|FrameDecoderTests|FramedChannels|RequestChannels|PeerCosts|SealedMemories|Varlink
test-tsan: setup ## Run the library's tests under ThreadSanitizer
	SCHEDULES=200 Tests/run --skip 'Dies|OnOtherDrivers|everySplitOf|hugePages' --skip-on-epoll '$(ABOVE)' --sanitize thread --scratch-path .build-tsan

test-asan: setup ## Run the library's tests under AddressSanitizer
	SCHEDULES=500 ASAN_OPTIONS=detect_leaks=0 Tests/run --skip 'Dies' --skip-on-epoll '$(ABOVE)' --sanitize address --scratch-path .build-asan

test-sysctl: setup ## Run the test that turns io_uring off for the whole machine for a moment (root)
	MESSAGE_SOCKETS_TEST_SYSCTL=1 $(SWIFT) test --disable-xctest --no-parallel --filter theSystemControlForbidsIt | tee /dev/stderr | grep -q 'Test theSystemControlForbidsIt() passed'

# KERNELS chooses versions, as "6.1 6.18.15 newest"; FILTER, SKIP and DRIVERS a part of the suite. See
# Tests/Kernels/run.
test-kernels: setup ## Boot other kernels (KERNELS) in qemu and try the package on both drivers; FULL=1 runs the whole suite
	@if ! command -v qemu-system-x86_64 >/dev/null || ! command -v busybox >/dev/null || ! command -v cpio >/dev/null; then \
	  $(SUDO) apt-get update && \
	  $(SUDO) apt-get install --yes --no-install-recommends qemu-system-x86 busybox-static cpio kmod e2fsprogs xz-utils zstd; \
	fi
	$(SWIFT) build $(if $(FULL),--build-tests)
	$(SWIFT) build $(BROKER) --product fd-broker
	Tests/Kernels/run $(if $(FULL),--full) $(KERNELS)

test-units: setup ## Start the articles' units by a systemd in namespaces of its own (root)
	@if [ ! -x /lib/systemd/systemd ] && command -v apt-get >/dev/null; then \
	  $(SUDO) apt-get update && \
	  $(SUDO) apt-get install --yes --no-install-recommends systemd python3; \
	fi
	$(SWIFT) build --product ServiceTool
	$(SWIFT) build $(subst $(CONFIGURATION),debug,$(BROKER)) --product hot-restart
	$(SUDO) Tests/Units/run

interop: setup ## Install the foreign peers (Go, GLib, Node, dbus-daemon, systemd …) and run the tests that talk to them; PEERS chooses
	Tests/Interop/run $(PEERS)

storm: setup ## Thousands of sockets, cancelled, closed and shut down at random for DURATION seconds (60); SEED=… replays
	$(SWIFT) build --product Storm
	@"$$($(SWIFT) build --show-bin-path)/Storm" --duration $(or $(DURATION),60) $(if $(SEED),--seed $(SEED))

storm-varlink: setup ## Varlink calls from many tasks, cancelled and expired at random for DURATION seconds (60); SEED=… replays
	$(SWIFT) build --product VarlinkStorm
	@"$$($(SWIFT) build --show-bin-path)/VarlinkStorm" $(or $(DURATION),60) $(SEED)

schedules: setup ## Run the engine over a simulated kernel: SCHEDULES (100000) from SEED on, by default a new one
	$(SWIFT) build --build-tests
	SCHEDULES=$(or $(SCHEDULES),100000) SEED=$(or $(SEED),$(shell date +%s)000000) \
	  $(SWIFT) test --skip-build --disable-xctest --no-parallel --filter FaultInjection

fuzz: setup ## Fuzz codecs, the receive path over a hostile kernel, hostile peers, framing, requests and Varlink, for DURATION seconds (60), a sixth each
	Fuzz/run $(or $(DURATION),60)

mutants: setup ## Break one guard after the other and see that a test notices: all, SAMPLE of them, or those in GUARDS
	Tests/Mutants/run $(if $(SAMPLE),--sample $(SAMPLE)) $(GUARDS)

docs: setup ## Build the documentation into .build/documentation; a warning is an error
	.ci/docs

# CASES chooses cases, with * and ?; `python3 Benchmarks/Runner --help` names the rest.
bench: setup ## Measure beside C, Rust, Go and other Swift libraries; QUICK=1 takes a minute
	python3 Benchmarks/Runner $(if $(QUICK),--quick) $(CASES)
	$(if $(CASES),,$(MAKE) bench-varlink)

# CHECK=1 counts ours only, and fails where a count is 3 % away from Benchmarks/instructions.json;
# RECORD=1 writes that file.
bench-instructions: setup ## Count the instructions of a message by valgrind: beside C (after make bench), CHECK=1 or RECORD=1
	@if ! command -v valgrind >/dev/null; then \
	  $(SUDO) apt-get update && \
	  $(SUDO) apt-get install --yes --no-install-recommends valgrind binutils; \
	fi
	$(if $(CHECK)$(RECORD),cd Benchmarks/MessageSockets && $(SWIFT) build -c release --product message-sockets)
	python3 Benchmarks/Runner/instructions.py $(if $(CHECK),--check) $(if $(RECORD),--record)

bench-varlink: setup ## Measure calls with a descriptor: a plain pair, framed, Varlink, asyncvarlink (also a part of make bench)
	Benchmarks/Varlink/run

bench-memory: setup ## Compare sealed memory with the same bytes through a socket, by size
	SWIFT=$(SWIFT) Benchmarks/SharedMemory/run $(SIZES)

bench-first-steps: setup ## Time a first program on Swift's thread pool, with LoopExecutor's line, and in loop.run
	cd Benchmarks/MessageSockets && $(SWIFT) build -c release --product first-steps && .build/release/first-steps

comparison: setup ## Pass a listener to a worker in C, Go, Rust, Python and Swift, and measure; WRITE=1 writes Docs/Comparison.md
	@if command -v apt-get >/dev/null; then \
	  command -v go >/dev/null || $(SUDO) apt-get install --yes --no-install-recommends golang-go; \
	  command -v cargo >/dev/null || $(SUDO) apt-get install --yes --no-install-recommends cargo; \
	  ls -d /usr/share/cargo/registry/nix-0.26* /usr/share/cargo/registry/tokio-1* >/dev/null 2>&1 || \
	  $(SUDO) apt-get install --yes --no-install-recommends librust-tokio-dev librust-nix-dev; \
	fi
	SWIFT=$(SWIFT) python3 Benchmarks/Comparison/run.py $(if $(WRITE),--write)

bench-codec: setup ## Time encoding and decoding beside C
	Benchmarks/Codec/run

ci: ## Do what CI does
	.ci/run

format: ## Format all Swift code
	$(SWIFT) format --in-place --parallel --recursive $(SOURCES)
	.ci/lint --index

install: setup ## Build the command msock and install it below PREFIX (/usr/local), with its manual page and completions
	SWIFT=$(SWIFT) PREFIX=$(PREFIX) Tools/msock/install

lint: ## Check the format of all code and prose, the shell examples, and that every test named in a table exists
	$(SWIFT) format lint --strict --parallel --recursive $(SOURCES)
	.ci/named-tests
	.ci/shell-examples
	.ci/comparison
	.ci/lint
	Tests/Mutants/run --check

clean: ## Remove what was built
	rm -rf .build .build-* Fuzz/.build Benchmarks/*/.build
