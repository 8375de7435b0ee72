#!/usr/bin/env bash
# Lays out what every way of installing hearth installs (package, archive, `make install`), as below a prefix:
#
#   tools/stage.sh FOLDER PROGRAM [TARGET]
#
# PROGRAM is the hearth to be installed, for the processor TARGET (a triple; by default this machine's). Manual pages and completions are
# written by target/release/hearth, which must run here. $STRIP removes the symbols ("true" keeps them). The same sources give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
to=$1 program=$2 target=${3:-}
[ -x "$program" ] || { echo "tools/stage.sh: there is no $program: run \"make build\" first" >&2; exit 1; }
unset HEARTH_LOG NO_COLOR
rm -rf "$to"
mkdir -p "$to"

put() { install -D -m 644 "$1" "$to/$2"; }
put_folder() { local file; while read -r file; do put "$1/$file" "$2/$file"; done < <(cd "$1" && find . -type f -printf '%P\n' | sort); }

install -D -m 755 "$program" "$to/bin/hearth"
"${STRIP:-strip}" "$to/bin/hearth"
put config/hearth.toml etc/hearth/hearth.toml
put systemd/hearth.service lib/systemd/system/hearth.service
put_folder models share/hearth/models
put_folder homeassistant share/hearth/homeassistant

target/release/hearth manpages "$to/generated"
for page in "$to"/generated/*.1; do put "$page" "share/man/man1/${page##*/}"; done
put "$to/generated/hearth.bash" share/bash-completion/completions/hearth
put "$to/generated/_hearth" share/zsh/vendor-completions/_hearth
put "$to/generated/hearth.fish" share/fish/vendor_completions.d/hearth.fish
rm -r "$to/generated"

doc=share/doc/hearth
for file in README.md CHANGELOG.md SECURITY.md LICENSE-MIT LICENSE-APACHE config/mosquitto.acl docs/*.md; do put "$file" "$doc/${file##*/}"; done
put packaging/copyright "$doc/copyright"
# shellcheck disable=SC2086
tools/third_party_licenses.py "$to/$doc/THIRD-PARTY.md" $target
chmod 644 "$to/$doc/THIRD-PARTY.md"

# install.sh installs what is listed here, and nothing else.
sums=$(cd "$to" && find . -type f -printf '%P\n' | LC_ALL=C sort | xargs sha256sum)
printf '%s\n' "$sums" > "$to/SHA256SUMS"
install -m 755 packaging/install.sh "$to/install.sh"
