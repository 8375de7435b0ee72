#!/usr/bin/env bash
# `make install`: builds and lays out target/stage as the owner of this checkout, then installs it as whoever runs this. So `sudo make install`
# finds the toolchain of the user, compiles nothing as root, and leaves no file of root in target/. $PREFIX and $DESTDIR as in packaging/install.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
stage=target/stage owner=$(stat -c %U .)
[ -n "${DESTDIR:-}" ] || [ "$(id -u)" = 0 ] || { echo "Installing into ${PREFIX:-/usr/local} needs root: sudo make install" >&2; exit 1; }

if [ "$(id -u)" != 0 ] || [ "$owner" = root ] || ! getent passwd "$owner" >/dev/null; then
  owner=$(id -un)
  as_owner() { "$@"; }
  home=$HOME
else
  home=$(getent passwd "$owner" | cut -d: -f6)
  as_owner() { runuser -u "$owner" -- env HOME="$home" USER="$owner" LOGNAME="$owner" "$@"; }
fi

# Where the owner's cargo is. sudo's PATH does not have it.
find_cargo() {
  if [ "${CARGO:-cargo}" != cargo ]; then echo "$CARGO"; return; fi
  if as_owner test -x "$home/.cargo/bin/cargo"; then echo "$home/.cargo/bin/cargo"; return; fi
  as_owner sh -c 'command -v cargo' && return
  # Whatever else the user's login sets up.
  [ "$owner" = "$(id -un)" ] || runuser -l "$owner" -c 'command -v cargo' </dev/null 2>/dev/null | tail -1
}
cargo=$(find_cargo || true)

if [ -n "$cargo" ]; then
  # apt is root's; the rest is the owner's.
  [ "$(id -u)" != 0 ] || make --no-print-directory build-deps
  as_owner env PATH="$(dirname "$cargo"):$PATH" make --no-print-directory stage CARGO="$cargo"
elif [ -f "$stage/SHA256SUMS" ]; then
  echo "There is no cargo for $owner here: installing $stage as it was built ($(date -r "$stage/SHA256SUMS" '+%F %H:%M'))"
else
  echo "There is no cargo for $owner, and nothing is built. Run \"make stage\" as the user who has a Rust toolchain and then \"sudo make install\"," \
    "or name it: sudo make install CARGO=/path/to/cargo" >&2
  exit 1
fi
"$stage/install.sh"
