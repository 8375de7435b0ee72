#!/usr/bin/env bash
# Installs hearth as an ordinary user does, with real sudo and a toolchain of rustup that only this user has, from the source and from
# target/dist. It happens in this machine's own file system, with layers over /etc and /usr that vanish afterwards. Wants root, sudo and rustup.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "tools/test_install.sh needs root, for mounts and a user" >&2; exit 1; }
for program in sudo man; do
  command -v $program >/dev/null || { echo "tools/test_install.sh needs $program" >&2; exit 1; }
done
cargo_home=${CARGO_HOME:-$HOME/.cargo} rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
[ -x "$cargo_home/bin/rustup" ] || { echo "tools/test_install.sh needs a toolchain of rustup, and $cargo_home/bin has none" >&2; exit 1; }

# shellcheck disable=SC2012
archive=$(ls -t "target/dist/hearth-"*"-linux-$(dpkg --print-architecture).tar.gz" 2>/dev/null | head -1)
[ -n "$archive" ] || { echo "there is no archive in target/dist: run \"make dist\" first" >&2; exit 1; }

expect() { if "${@:2}"; then echo "ok    $1"; else echo "WRONG $1"; exit 1; fi; }

if [ "${1:-}" != inside ]; then
  work=$(mktemp -d "${TMPDIR:-/var/tmp}/hearth-install.XXXXXX")
  trap 'rm -rf --one-file-system "$work"' EXIT
  unshare --mount --propagation private -- "$0" inside "$work"
  exit
fi

# Home and checkout of the user have the paths of those that are lent: cargo takes over only what was compiled from the same paths.
work=$2 user=hearth-tester home=$HOME tree=$PWD
chmod 755 "$work"

as_user() { sudo -H -u "$user" env -i HOME="$home" PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 "$@"; }
# A command line of the user, in the checkout or in the folder $in; its output is kept in $said.
try() { echo "  \$ $*"; as_user sh -c "cd '${in:-$tree}' && $*" > "$said" 2>&1 </dev/null; }
run() { try "$@" || { sed 's/^/  | /' "$said"; false; }; }
fails() { ! try "$@"; }
says() { grep -qF -- "$1" "$said" || { sed 's/^/  | /' "$said"; return 1; }; }
no_file_of_root() { [ -z "$(find "$tree" "$home/.cargo" -user root -print -quit)" ]; }
nothing_of_hearth() { [ -z "$(find "$@" -path '*hearth*' ! -type d -print -quit)" ]; }

echo "== a user with a toolchain of rustup and a checkout"
mkdir "$work/layers"
mount -t tmpfs tmpfs "$work/layers"
for folder in etc usr; do
  mkdir -p "$work/layers/$folder/upper" "$work/layers/$folder/work"
  mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$work/layers/$folder/upper,workdir=$work/layers/$folder/work" "/$folder"
done
said=$work/layers/said && : > "$said" && chmod 666 "$said"
rm -rf /usr/local/bin/hearth /usr/local/share/hearth /etc/hearth
mkdir -p "$work/home/hearth/target/release" "$work/home/.rustup" "$work/home/.cargo"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp -a --parents -t "$work/home/hearth"
cp -a "$cargo_home/bin" "$cargo_home/registry" "$work/home/.cargo/"
[ ! -e "$cargo_home/config.toml" ] || cp "$cargo_home/config.toml" "$work/home/.cargo/"
# cargo compiles all of a workspace anew where this differs.
[ -z "${CARGO_INCREMENTAL:-}" ] || printf '[build]\nincremental = true\n' >> "$work/home/.cargo/config.toml"
# What is compiled is taken over but for the program itself.
cp -a target/release/build target/release/deps target/release/.fingerprint "$work/home/hearth/target/release/"
touch "$work/home/hearth/src/main.rs"
useradd --home-dir "$home" --shell /bin/sh "$user"
echo "$user ALL=(ALL) NOPASSWD: ALL" > "/etc/sudoers.d/$user"
chown -R "$user:" "$work/home"
mount --bind "$rustup_home" "$work/home/.rustup"
mkdir "$work/source" && mount --bind "$tree" "$work/source"
mount --rbind "$work/home" "$home"
mkdir -p "$tree" && mount --bind "$work/home/hearth" "$tree"
cd "$work/source"
sudo -u "$user" test -r "$tree/Makefile" || { echo "$tree must be in folders that everybody may read" >&2; exit 1; }
# Root has another home, without a toolchain.
sed -i "s,^\\(root:[^:]*:[^:]*:[^:]*:[^:]*\\):[^:]*:,\\1:/var/empty:," /etc/passwd
expect "the user has a toolchain" run "$home/.cargo/bin/cargo --version"
expect "sudo finds no cargo" fails "sudo sh -c 'command -v cargo'"

echo "== sudo make install, of a program that is not built yet, into a folder"
expect "it installs" run "sudo make install DESTDIR=$home/out"
for file in etc/hearth/hearth.toml usr/local/bin/hearth usr/local/lib/systemd/system/hearth.service usr/local/share/man/man1/hearth-export.1 \
  usr/local/share/bash-completion/completions/hearth usr/local/share/zsh/site-functions/_hearth usr/local/share/fish/vendor_completions.d/hearth.fish \
  usr/local/share/hearth/models/whisper-tiny.en-q5_1.bin usr/local/share/doc/hearth/THIRD-PARTY.md; do
  expect "there is $file, of root" [ "$(stat -c %U:%G "$home/out/$file")" = root:root ]
done
expect "no file in the checkout and in ~/.cargo is root's" no_file_of_root
expect "the program was compiled by the user" [ "$(stat -c %U "$tree/target/release/hearth")" = "$user" ]
expect "make uninstall takes all away" run "sudo make uninstall DESTDIR=$home/out"
expect "but the settings" nothing_of_hearth "$home/out/usr"
expect "which stay" [ -f "$home/out/etc/hearth/hearth.toml" ]

echo "== sudo make install, into the real prefix"
expect "without sudo it says what to do" fails "make install"
expect "in a sentence" says "sudo make install"
expect "it installs" run "sudo make install"
expect "it says how to go on" says "The service"
expect "the program runs" run "hearth --version"
expect "it finds its models beside it" run "cd / && hearth models list | grep -q '/usr/local/share/hearth/models'"
expect "man finds the page" run "man -w hearth-export | grep -q /usr/local"
expect "bash completes" run "bash -c '. /usr/local/share/bash-completion/completions/hearth && complete -p hearth'"
expect "the unit is right" systemd-analyze verify /usr/local/lib/systemd/system/hearth.service
expect "and starts the program of this prefix" grep -q '^ExecStart=/usr/local/bin/hearth run' /usr/local/lib/systemd/system/hearth.service
expect "no file in the checkout and in ~/.cargo is root's" no_file_of_root

echo "== again, over it"
echo 'node = "kitchen"' > /etc/hearth/hearth.toml
echo /usr/local/share/hearth/of-an-older-hearth >> /usr/local/share/hearth/installed-files
touch /usr/local/share/hearth/of-an-older-hearth
expect "it installs" run "sudo make install"
expect "settings stay" grep -q kitchen /etc/hearth/hearth.toml
expect "what only the older hearth had goes" [ ! -e /usr/local/share/hearth/of-an-older-hearth ]

echo "== without a toolchain"
mv "$home/.cargo/bin" "$home/.cargo/gone"
expect "what is built is installed" run "sudo make install"
expect "and it says so" says "There is no cargo for $user here: installing target/stage as it was built"
expect "make uninstall" run "sudo make uninstall"
expect "leaves nothing" nothing_of_hearth /usr/local
expect "a second time there is nothing to remove" fails "sudo make uninstall"
expect "and it says so" says "no hearth was installed below /usr/local"
mv "$tree/target/stage" "$tree/target/gone"
expect "with nothing built it fails" fails "sudo make install"
expect "with a way out" says 'Run "make stage" as the user who has a Rust toolchain'
expect "and installs nothing" nothing_of_hearth /usr/local
mv "$home/.cargo/gone" "$home/.cargo/bin"

echo "== the archive, made twice"
first=$(sha256sum < "$archive")
(umask 077 && TZ=Asia/Tokyo LC_ALL=C tools/dist.sh > "$said")
expect "both are the same bytes" [ "$first" = "$(sha256sum < "$archive")" ]
expect "SHA256SUMS lists it" sh -c "cd target/dist && sha256sum --check --quiet SHA256SUMS"
cp "$archive" "$home/hearth.tar.gz"
in=$home
expect "the user unpacks it" run "tar xzf hearth.tar.gz && mv hearth-*-linux-* hearth-archive"
in=$home/hearth-archive
expect "not as root it fails" fails ./install.sh
expect "and says why" says "this needs root"
expect "with a damaged file it fails" fails "cp bin/hearth kept && printf x >> bin/hearth && sudo ./install.sh"
expect "and installs nothing" nothing_of_hearth /usr/local
expect "it names the file" says "bin/hearth: FAILED"
expect "of another processor" fails "printf '\\177ELF no program' > bin/hearth && sha256sum bin/hearth > one && grep -v ' bin/hearth' SHA256SUMS > more \
  && cat one more > SHA256SUMS && sudo ./install.sh"
expect "it says so" says "is the archive for another processor?"
expect "and installs nothing" nothing_of_hearth /usr/local
run "tar xzf ../hearth.tar.gz --strip-components=1"
expect "it installs" run "sudo ./install.sh"
expect "settings stay" grep -q kitchen /etc/hearth/hearth.toml
expect "the program runs" run "hearth --version"
expect "it installs elsewhere" run "sudo ./install.sh --prefix /usr/local/apart"
expect "with the path of that place in the unit" grep -q '^ExecStart=/usr/local/apart/bin/hearth run' /etc/systemd/system/hearth.service
expect "and goes" run "sudo ./install.sh --prefix /usr/local/apart --uninstall"
expect "with its service" [ ! -e /etc/systemd/system/hearth.service ]
expect "--purge takes the settings, too" run "sudo ./install.sh --uninstall --purge"
expect "all of them" nothing_of_hearth /usr/local /etc/hearth
echo "== installed, upgraded and removed"
