#!/usr/bin/env bash
# An archive of hearth for one processor, with the script that installs it: target/dist/hearth-VERSION-linux-ARCHITECTURE.tar.gz.
#
#   tools/dist.sh [TARGET]   of target/release/hearth, or of the hearth that was cross-built for TARGET (tools/aarch64.sh build)
#
# The same sources and program give the same bytes: times are $SOURCE_DATE_EPOCH (by default of the last commit), names are sorted, and
# owners and modes are fixed. target/dist/SHA256SUMS lists the archives.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-}
version=$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
case ${target:-$(uname -m)} in
  x86_64*) architecture=amd64 ;;
  aarch64*) architecture=arm64 ;;
  *) architecture=${target:-$(uname -m)} ;;
esac
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
name=hearth-$version-linux-$architecture dist=target/dist

# A cross-built program has no symbols any more.
# shellcheck disable=SC2086
STRIP=${target:+true} tools/stage.sh "$dist/$name" "target/${target:+$target/}release/hearth" $target
cp docs/install.md "$dist/$name/INSTALL.md"
cp LICENSE-MIT LICENSE-APACHE "$dist/$name/"
tar -C "$dist" --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=gnu -cf - "$name" |
  gzip -9n > "$dist/$name.tar.gz"
rm -r "${dist:?}/$name"
(cd "$dist" && sha256sum hearth-"$version"-linux-*.tar.gz > SHA256SUMS)
echo "$dist/$name.tar.gz: $(stat -c %s "$dist/$name.tar.gz") bytes, $(sha256sum < "$dist/$name.tar.gz" | cut -c1-64)"
