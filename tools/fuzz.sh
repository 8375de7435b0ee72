#!/usr/bin/env bash
# Runs each fuzz target for some seconds: tools/fuzz.sh [SECONDS] [TARGET ...]. See fuzz/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}; shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
export RUSTC_BOOTSTRAP=1 TMPDIR=$scratch
cargo fuzz build -s none
for target in "${targets[@]}"; do
  echo "== $target, $seconds s"
  mkdir -p "$scratch/$target" "fuzz/artifacts/$target"
  # New inputs go to the first folder, which is thrown away; the seeds are only read.
  folders=("$scratch/$target")
  [ ! -d "fuzz/corpus/$target" ] || folders+=("fuzz/corpus/$target")
  cargo fuzz run -s none "$target" "${folders[@]}" -- \
    -max_total_time="$seconds" -max_len=70000 -rss_limit_mb=2048 -artifact_prefix="fuzz/artifacts/$target/" 2> "$scratch/log" \
    || { tail -50 "$scratch/log"; exit 1; }
  tail -1 "$scratch/log"
done
