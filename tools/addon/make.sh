#!/usr/bin/env bash
# The folder of the add-on with the newest package of an architecture in it (amd64 or arm64), to be copied into Home Assistant.
set -euo pipefail
cd "$(dirname "$0")/../.."
deb=$(ls -t target/debian/hearth_*_"$1".deb 2>/dev/null | head -1 || true)
[ -n "$deb" ] || { echo "there is no package for $1 in target/debian: run \"make deb\" or \"make deb-arm64\" first" >&2; exit 1; }
to=target/addon/hearth
mkdir -p "$to"
rm -f "$to"/hearth_*_"$1".deb
cp -r addon/. "$deb" "$to/"
echo "$to holds the add-on with $(basename "$deb"): copy this folder into the folder \"addons\" of Home Assistant (addon/DOCS.md)"
