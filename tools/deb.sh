#!/usr/bin/env bash
# The Debian package: built, and tried in a clean root.
#
#   tools/deb.sh build [TARGET]   target/debian/hearth_*.deb of target/release/hearth, or of the hearth that was cross-built for TARGET;
#                                 the same sources and programs give the same bytes
#   tools/deb.sh lint [DEB]       what lintian finds; errors and warnings fail
#   tools/deb.sh test [DEB]       installs it in a bare Debian of its own, uses it, removes and purges it; wants root and a network
set -euo pipefail
cd "$(dirname "$0")/.."
mirror=${DEBIAN_MIRROR:-http://deb.debian.org}
suite=${SUITE:-bookworm}

build() {
  local target=${1:-} version
  command -v cargo-deb >/dev/null || cargo install --locked cargo-deb
  # The time of the last commit is the time of all files.
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
  export SOURCE_DATE_EPOCH
  # shellcheck disable=SC2086
  STRIP=true tools/stage.sh target/stage "target/${target:+$target/}release/hearth" $target
  # Debian's form of a changelog, which says which package this is.
  version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
  cat > target/changelog.Debian <<EOF
hearth ($version-1) unstable; urgency=medium

  * hearth $version; what is new in it: changelog.gz.

 -- $(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
EOF
  mkdir -p target/debian
  # shellcheck disable=SC2086
  cargo deb --no-build --locked --output target/debian ${target:+--no-strip --target $target --variant bookworm}
}

lint() {
  command -v lintian >/dev/null || { echo "tools/deb.sh lint needs lintian (apt install lintian)" >&2; exit 1; }
  echo "== lintian $(dpkg-query -W -f='${Version}' lintian) on $1"
  # A package that is not on its way into Debian closes no bug of Debian's.
  lintian --allow-root --tag-display-limit 0 --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs "$1"
  echo "no errors, no warnings"
}

try() {
  local deb=$1 root; root=$(mktemp -d)
  [ "$(id -u)" = 0 ] || { echo "tools/deb.sh test needs root, for chroot" >&2; exit 1; }
  command -v debootstrap >/dev/null || { echo "tools/deb.sh test needs debootstrap (apt install debootstrap)" >&2; exit 1; }
  # shellcheck disable=SC2064
  trap "umount -q '$root/proc' || true; rm -rf '$root'" EXIT
  echo "== a bare $suite in $root"
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror/debian" > "$root.log" || { tail "$root.log"; exit 1; }
  rm -f "$root.log"
  mount -t proc proc "$root/proc"
  cp "$deb" "$root/tmp/hearth.deb"
  # Nothing is started in there.
  printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"; chmod 755 "$root/usr/sbin/policy-rc.d"
  in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 HOME=/root "$@"; }

  echo "== install"
  in_root apt-get install -q -y --no-install-recommends systemd /tmp/hearth.deb | tee "$root/tmp/said"
  grep -q 'its microphone is closed.*sudo hearth setup' "$root/tmp/said"
  [ -L "$root/etc/systemd/system/multi-user.target.wants/hearth.service" ] || { echo "the service is not enabled"; exit 1; }
  # There is no man in there that could be asked for the manual page.
  in_root systemd-analyze verify --man=no /lib/systemd/system/hearth.service
  echo "== use"
  in_root hearth --version
  # There is no sound card in there, so the recording is what it hears.
  in_root hearth demo --fast | tail -n 12
  in_root hearth check || [ $? = 78 ]
  in_root sh -c 'test -s /usr/share/man/man1/hearth.1.gz && test -s /usr/share/bash-completion/completions/hearth'
  local notice
  for notice in 'The ggml authors' 'Copyright (c) 2022 OpenAI' 'Mozilla' 'SQLite' "- rusqlite $(locked rusqlite):" "- rumqttc $(locked rumqttc):"; do
    grep -qF -- "$notice" "$root/usr/share/doc/hearth/THIRD-PARTY.md" || { echo "the notices do not name: $notice"; exit 1; }
  done
  grep -q '^Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/' "$root/usr/share/doc/hearth/copyright"
  echo "== a changed config outlives removal, and goes with purge"
  echo 'node = "kitchen"' > "$root/etc/hearth/hearth.toml"
  echo secret > "$root/etc/hearth/mqtt.password"
  # As the service lays it, with a user of its own.
  mkdir -p "$root/var/lib/private/hearth" && ln -s private/hearth "$root/var/lib/hearth" && echo said > "$root/var/lib/private/hearth/hearth.db"
  in_root apt-get remove -q -y hearth
  grep -q kitchen "$root/etc/hearth/hearth.toml"
  grep -q said "$root/var/lib/hearth/hearth.db"
  [ ! -e "$root/usr/bin/hearth" ] && [ ! -e "$root/usr/share/hearth" ]
  in_root apt-get purge -q -y hearth
  left=$(find "$root/etc" "$root/usr" "$root/lib/systemd" "$root/var/lib" -path '*hearth*' ! -path '*/dpkg/*' || true)
  [ -z "$left" ] || { echo "left behind: $left"; exit 1; }
  echo "== the package installs, works and goes"
}

# The version of a crate in Cargo.lock.
locked() { sed -n "/^name = \"$1\"/{n;s/version = \"\(.*\)\"/\1/p}" Cargo.lock; }
newest() {
  # shellcheck disable=SC2012
  ls -t target/debian/hearth_*_"$(dpkg --print-architecture)".deb 2>/dev/null | head -1 | grep . ||
    { echo "there is no package in target/debian: run \"make deb\" first" >&2; exit 1; }
}

case ${1:-} in
  build) build "${2:-}" ;;
  lint) deb=${2:-$(newest)}; lint "$deb" ;;
  test) deb=${2:-$(newest)}; lint "$deb"; try "$deb" ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
