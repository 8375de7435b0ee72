#!/usr/bin/env bash
# hearth for the 64-bit Raspberry Pi, from any x86-64 Linux with root, cross-built in a Debian bookworm of its own
# (glibc 2.36: what it builds runs on bookworm and later) and run under qemu.
#
#   tools/aarch64.sh set-up       makes the chroot, once; 1.5 GB in ~/.cache/hearth-aarch64, or in $HEARTH_AARCH64
#   tools/aarch64.sh test [NAME]  the engine's tests on a Pi 4's processor and on a Pi 5's
#   tools/aarch64.sh build        target/aarch64-unknown-linux-gnu/release/hearth, without symbols
#   tools/aarch64.sh deb          target/debian/hearth_*_arm64.deb, its binary run on both processors
#   tools/aarch64.sh cargo ARG..  cargo with everything set to cross-build; $CPU is the processor that qemu plays
#
# One build serves both processors, as one package does: kernels are chosen where they run.
set -euo pipefail
root=${HEARTH_AARCH64:-${XDG_CACHE_HOME:-$HOME/.cache}/hearth-aarch64}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org}
chroot=$root/bookworm triple=aarch64-unknown-linux-gnu
# rustc-web is the recent Rust that Debian keeps for its browsers; its aarch64 libraries come from the same source.
packages="rustc-web cargo-web libstd-rust-web-dev:arm64 gcc g++ gcc-aarch64-linux-gnu g++-aarch64-linux-gnu
  make cmake pkg-config libasound2-dev:arm64 qemu-user-static ca-certificates"
ready=$chroot/.ready-$(echo "$packages" | sha256sum | cut -c1-16)
# Pi 4: plain NEON. Pi 5: with dot products.
processors="cortex-a72 cortex-a76"

# Runs a command in the chroot, with /proc and more places: FROM=TO... -- COMMAND. The mounts vanish with the command.
inside() {
  unshare --mount --propagation private bash -euc '
    chroot=$1; shift
    mount -t proc proc "$chroot/proc"
    [ -e "$chroot/dev/null" ] || mount --bind /dev "$chroot/dev"
    while [ "$1" != -- ]; do mount --bind "${1%%=*}" "$chroot${1#*=}"; shift; done
    shift; exec chroot "$chroot" /usr/bin/env -i "$@"' _ "$chroot" "$@"
}

set_up() {
  [ "$(id -u)" = 0 ] || { echo "tools/aarch64.sh needs root, for chroot and mounts" >&2; exit 1; }
  [ -e "$ready" ] && return
  mkdir -p "$root"
  if [ ! -x "$chroot/usr/bin/apt-get" ]; then
    local debootstrap; debootstrap=$(command -v debootstrap || true)
    if [ -z "$debootstrap" ]; then # unpacked, not installed: this machine stays as it is
      (cd "$root" && apt-get download -q debootstrap && dpkg -x debootstrap_*_all.deb debootstrap && rm debootstrap_*_all.deb)
      debootstrap=$root/debootstrap/usr/sbin/debootstrap
      export DEBOOTSTRAP_DIR=$root/debootstrap/usr/share/debootstrap
    fi
    rm -rf "$chroot"
    "$debootstrap" --variant=minbase --include=ca-certificates bookworm "$chroot" "$mirror/debian"
  fi
  printf 'deb %s main\n' "$mirror/debian bookworm" "$mirror/debian bookworm-updates" \
    "$mirror/debian-security bookworm-security" > "$chroot/etc/apt/sources.list"
  chroot "$chroot" dpkg --add-architecture arm64
  local apt="apt-get -q -y -o APT::Install-Recommends=false"
  # shellcheck disable=SC2086
  inside -- PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 LANG=C.UTF-8 \
    sh -ec "$apt update; $apt install $(echo $packages); $apt clean"
  mkdir -p "$chroot/src" "$chroot/cargo" "$chroot/target" "$root/cargo" "$root/target"
  touch "$ready"
}

cross_cargo() {
  # cargo in there trusts and finds what this machine does.
  cp -L /etc/ssl/certs/ca-certificates.crt "$chroot/etc/ssl/certs/ca-certificates.crt"
  cp -L /etc/resolv.conf "$chroot/etc/resolv.conf"
  inside "$(pwd)=/src" "$root/cargo=/cargo" "$root/target=/target" -- \
    PATH=/usr/bin:/bin HOME=/root LANG=C.UTF-8 CARGO_HOME=/cargo CARGO_TARGET_DIR=/target \
    CARGO_BUILD_TARGET=$triple CARGO_BUILD_JOBS="${CARGO_BUILD_JOBS:-$(nproc)}" CMAKE_BUILD_PARALLEL_LEVEL="$(nproc)" \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L / -cpu ${CPU:-cortex-a72}" \
    CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++ \
    AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar PKG_CONFIG_ALLOW_CROSS=1 \
    PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu=/usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig \
    sh -ec 'cd /src; exec nice cargo "$@"' cargo "$@"
}

cross_build() {
  set_up
  cross_cargo build --release --locked
  # whisper-rs-sys is not built anew when tools/whisper changes.
  grep -q ggml_backend_cpu_reg_dotprod "$root/target/$triple/release/hearth" || {
    echo "whisper.cpp was built without dot products: tools/aarch64.sh cargo clean --release -p whisper-rs-sys, then again" >&2
    exit 1
  }
  mkdir -p "target/$triple/release"
  inside "$root/target=/target" -- PATH=/usr/bin:/bin aarch64-linux-gnu-strip -o "/target/hearth" "/target/$triple/release/hearth"
  cp "$root/target/hearth" "target/$triple/release/hearth"
}

cd "$(dirname "$0")/.."
case ${1:-} in
  set-up) set_up ;;
  cargo) set_up; cross_cargo "${@:2}" ;;
  test)
    set_up
    for CPU in $processors; do
      echo "== the engine on $CPU"
      cross_cargo test --release --locked --package recurrentgemma --lib --tests -- "${2:-}"
    done ;;
  build) cross_build ;;
  deb)
    cross_build
    tools/deb.sh build "$triple"
    rm -rf "$root/deb" && mkdir -p "$root/deb" "$chroot/deb"
    # shellcheck disable=SC2012
    dpkg -x "$(ls -t target/debian/hearth_*_arm64.deb | head -1)" "$root/deb"
    # Half a minute of the demo: under qemu Whisper takes twenty times as long as what it hears.
    head -c 420000 examples/household.flac > "$root/deb/household.flac"
    for CPU in $processors; do
      echo "== the package's hearth on $CPU"
      hearth() {
        inside "$(pwd)=/src" "$root/deb=/deb" -- PATH=/usr/bin:/bin HOME=/tmp LANG=C.UTF-8 \
          qemu-aarch64-static -L / -cpu "$CPU" /deb/usr/bin/hearth "$@"
      }
      # There is no sound card in there: it hears the demo's recording.
      printf '[source.file]\npath = "/src/examples/household.flac"\n[store]\ndir = "/tmp/hearth"\n' > "$root/deb/check.toml"
      hearth check --config /deb/check.toml
      hearth transcribe /deb/household.flac --json | tee "$root/deb/said.jsonl"
      hearth ask --text /deb/said.jsonl "Is someone hurt or calling for help?" "Is there a fire?" "What is delivered?"
    done ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
