#!/bin/sh
# Installs the hearth beside this script, or removes one that it installed.
#
#   ./install.sh                 installs, and starts the service with its microphone closed; over an older hearth, too
#   ./install.sh --uninstall     removes what was installed; settings and what was said stay
#   ./install.sh --uninstall --purge     removes these, too
#
#   --prefix FOLDER     below which it is installed; /usr/local by default, or $PREFIX
#   --destdir FOLDER    a root that is not this machine's, for packages; nothing is started; or $DESTDIR
#   --no-start          leaves the service as it is
#
# It asks nothing and needs no network. What it installs is what SHA256SUMS lists, after each file was compared with it; the list of installed
# files is kept in PREFIX/share/hearth/installed-files.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
prefix=${PREFIX:-/usr/local} destdir=${DESTDIR:-} action=install purge=no start=yes

fail() { echo "install.sh: $*" >&2; exit 1; }
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p;}' "$0"; }
while [ $# -gt 0 ]; do
  case $1 in
    --uninstall) action=uninstall ;;
    --purge) purge=yes ;;
    --no-start) start=no ;;
    --prefix | --destdir) [ $# -ge 2 ] || fail "$1 needs a folder"; eval "${1#--}=\$2"; shift ;;
    -h | --help) usage; exit ;;
    *) usage >&2; fail "there is no option $1" ;;
  esac
  shift
done
case $prefix in /*) prefix=${prefix%/} ;; *) fail "the prefix must begin with \"/\", and is \"$prefix\"" ;; esac
case $destdir in '' | /*) destdir=${destdir%/} ;; *) fail "the destdir must begin with \"/\", and is \"$destdir\"" ;; esac
[ "$purge" = no ] || [ "$action" = uninstall ] || fail "--purge goes with --uninstall only"
[ -n "$destdir" ] || [ "$(id -u)" = 0 ] || fail "this needs root: sudo $0"
list=$prefix/share/hearth/installed-files

# systemd looks for units below these prefixes and in /etc.
case $prefix in
  /usr | /usr/local) units=$prefix/lib/systemd/system ;;
  *) units=/etc/systemd/system ;;
esac
has_systemd() { [ -z "$destdir" ] && [ "$start" = yes ] && [ -d /run/systemd/system ]; }

# Where a file of this folder goes.
place() {
  case $1 in
    etc/*) echo "/$1" ;;
    lib/systemd/system/*) echo "$units/${1##*/}" ;;
    # Debian's zsh looks into vendor-completions below /usr, and into site-functions below /usr/local.
    share/zsh/vendor-completions/*) [ "$prefix" = /usr ] && echo "$prefix/$1" || echo "$prefix/share/zsh/site-functions/${1##*/}" ;;
    *) echo "$prefix/$1" ;;
  esac
}

# The files of a list, with what an interrupted run left beside them, and folders of hearth that are empty then.
remove() {
  while read -r file; do
    case $file in /*) rm -f "$destdir$file" "$destdir$file.new" ;; esac
  done
  for folder in share/hearth share/doc/hearth; do
    [ ! -d "$destdir$prefix/$folder" ] || find "$destdir$prefix/$folder" -depth -type d -empty -delete
  done
}

# hearth as a package has the same settings, state and service.
is_package() { [ -z "$destdir" ] && [ "$(dpkg-query -W -f='${db:Status-Status}' hearth 2>/dev/null)" = installed ]; }

uninstall() {
  if [ "$purge" = yes ] && is_package; then fail "hearth is installed as a package, which has the same settings: sudo apt purge hearth"; fi
  if [ -f "$destdir$list" ]; then
    echo "Removing hearth from $destdir$prefix: $(wc -l < "$destdir$list") files"
    if has_systemd; then systemctl disable --quiet --now hearth || true; fi
    # The list goes last: what is interrupted can be done again.
    remove < "$destdir$list"
    echo "$list" | remove
    # Folders that were made for hearth, where nothing else uses them.
    for folder in share/zsh/site-functions share/zsh share/fish/vendor_completions.d share/fish share/bash-completion/completions \
      share/bash-completion share/man/man1 lib/systemd/system lib/systemd; do
      rmdir "$destdir$prefix/$folder" 2>/dev/null || true
    done
    if has_systemd; then systemctl daemon-reload; fi
  elif [ "$purge" = no ]; then
    fail "no hearth was installed below $destdir$prefix by this script (--prefix names another place; a package is removed with: sudo apt remove hearth)"
  fi
  if [ "$purge" = yes ]; then
    echo "Removing settings and what was said: $destdir/etc/hearth, $destdir/var/lib/hearth"
    rm -rf "$destdir/etc/hearth" "$destdir/var/lib/private/hearth" "$destdir/var/lib/hearth"
  else
    echo "Settings in $destdir/etc/hearth and what was said in $destdir/var/lib/hearth stay; --uninstall --purge removes them."
  fi
}

check_files() {
  [ -f "$here/SHA256SUMS" ] || fail "there is no SHA256SUMS in $here: unpack the archive again and run the install.sh in it"
  (cd "$here" && sha256sum --check --quiet --strict SHA256SUMS) || fail "files are missing or damaged (above): download the archive again. Nothing was installed"
}

check_machine() {
  [ -z "$destdir" ] || return 0
  if is_package; then
    fail "hearth is installed as a package: remove that first (sudo apt remove hearth; settings and what was said stay)"
  fi
  version=$("$here/bin/hearth" --version 2>&1) && return 0
  missing=$(ldd "$here/bin/hearth" 2>&1 | grep 'not found' || true)
  [ -z "$missing" ] || fail "hearth does not start for want of libraries. On Debian: sudo apt install libasound2 libstdc++6
$missing"
  fail "this hearth does not start on this machine ($(uname -m)); is the archive for another processor? $version"
}

install_files() {
  new=$(while read -r _ file; do place "$file"; done < "$here/SHA256SUMS" | grep -v '^/etc/hearth/')
  old=$([ ! -f "$destdir$list" ] || cat "$destdir$list")
  mkdir -p "$destdir${list%/*}"
  # Before the files, so that --uninstall finds also what an interrupted run left.
  printf '%s\n%s\n' "$old" "$new" | grep . | sort -u > "$destdir$list"
  while read -r _ file; do
    to=$destdir$(place "$file") mode=644
    case $file in
      etc/*)
        if [ -e "$to" ]; then echo "  $to: kept as it is"; continue; fi
        echo "  $to" ;;
      bin/*) mode=755; echo "  $to" ;;
      lib/*) echo "  $to" ;;
    esac
    mkdir -p "${to%/*}"
    # A program that runs keeps its file, and nobody sees half a file.
    if [ "${file##*/}" = hearth.service ]; then
      sed "s|^ExecStart=/usr/bin/hearth |ExecStart=$prefix/bin/hearth |" "$here/$file" > "$to.new"
    else
      cp "$here/$file" "$to.new"
    fi
    chmod "$mode" "$to.new"
    mv -f "$to.new" "$to"
  done < "$here/SHA256SUMS"
  echo "  $destdir$prefix/share/hearth: models, examples for Home Assistant"
  echo "  $destdir$prefix/share: manual pages, completions for bash, zsh and fish, documentation (doc/hearth)"
  printf '%s\n' "$new" > "$destdir$list.new"
  # What only the older hearth had goes.
  printf '%s\n' "$old" | grep -vxF -f "$destdir$list.new" | remove
  mv -f "$destdir$list.new" "$destdir$list"
}

start_service() {
  [ -z "$destdir" ] || return 0
  if ! has_systemd; then
    echo "The service was not started. Where systemd runs: sudo systemctl enable --now hearth"
  elif [ -n "$old" ]; then
    systemctl daemon-reload
    systemctl try-restart hearth
    echo "The service goes on with the new hearth, if it ran."
  else
    systemctl daemon-reload
    systemctl enable --quiet --now hearth
    echo "The service runs, and its microphone is closed. To choose the microphone and begin to listen: sudo hearth setup"
  fi
}

if [ "$action" = uninstall ]; then uninstall; exit; fi
version=
check_files
check_machine
echo "Installing ${version:-hearth} below $destdir$prefix:"
install_files
start_service
