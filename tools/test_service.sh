#!/usr/bin/env bash
# Installs hearth from target/dist on a systemd of its own, booted in namespaces over this machine's file system: the service is started muted,
# goes on after an upgrade, and goes with hearth. Wants root and systemd, and changes nothing of this machine.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "tools/test_service.sh needs root, for mounts and namespaces" >&2; exit 1; }

expect() { if "${@:2}"; then echo "ok    $1"; else echo "WRONG $1"; exit 1; fi; }

# In namespaces of its own: systemd on a layer over this machine's file system. It runs `service`, and ends.
boot() {
  local work=$1 root=$1/root
  mount -t tmpfs tmpfs "$work/layer"
  mkdir -p "$work/layer/upper" "$work/layer/work"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$work/layer/upper,workdir=$work/layer/work" "$root"
  mount -t proc proc "$root/proc"
  mount -t sysfs sysfs "$root/sys"
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  for folder in run dev tmp; do mount -t tmpfs tmpfs "$root/$folder"; done
  for device in null zero random urandom full tty; do touch "$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device"; done
  mkdir -p "$root/dev/shm" "$root/hearth-test" && mount --bind "$work" "$root/hearth-test"
  rm -rf "$root/usr/local/bin/hearth" "$root/usr/local/share/hearth" "$root/etc/hearth"
  cat > "$root/etc/systemd/system/hearth-test.service" <<EOF
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/hearth-test/test_service.sh service
StandardOutput=file:/hearth-test/out/said
StandardError=inherit
ExecStopPost=systemctl poweroff --force
EOF
  cd "$root"
  exec env container=other chroot "$root" /lib/systemd/systemd --unit=hearth-test.service --log-target=console </dev/null > "$work/out/boot.log" 2>&1
}

# What that systemd runs.
service() {
  local said=/hearth-test/out/last
  do_it() { echo "  \$ $*"; "$@" > "$said" 2>&1 || { sed 's/^/  | /' "$said"; false; }; }
  says() { grep -q "$1" "$said" || { sed 's/^/  | /' "$said"; false; }; }
  is() { [ "$(systemctl "$1" hearth)" = "$2" ]; }
  cd /hearth-test/archive
  expect "it installs" do_it ./install.sh
  expect "it says how to go on" says 'its microphone is closed.*sudo hearth setup'
  expect "the service runs" is is-active active
  expect "also after the next start of the machine" is is-enabled enabled
  expect "hearth answers" do_it hearth status
  expect "it is muted" says '^hears *muted'
  local before; before=$(systemctl show --property MainPID hearth)
  expect "over itself it installs" do_it ./install.sh
  expect "the service runs again" is is-active active
  expect "as a new process" [ "$before" != "$(systemctl show --property MainPID hearth)" ]
  systemctl disable --quiet --now hearth
  expect "with a service that somebody stopped it installs" do_it ./install.sh
  expect "which stays stopped" is is-active inactive
  expect "and disabled" is is-enabled disabled
  systemctl enable --quiet --now hearth
  expect "it uninstalls" do_it ./install.sh --uninstall
  expect "the service is gone" is is-active inactive
  expect "settings stay" [ -f /etc/hearth/hearth.toml ]
  expect "what was said stays" [ -f /var/lib/hearth/hearth.db ]
  expect "--purge takes them" do_it ./install.sh --uninstall --purge
  expect "all of them" [ ! -e /etc/hearth -a ! -e /var/lib/hearth -a ! -e /var/lib/private/hearth ]
  echo "== the service was installed, upgraded and removed"
}

case ${1:-} in
  boot) boot "$2" ;;
  service) service; exit ;;
esac

cd "$(dirname "$0")/.."
# shellcheck disable=SC2012
archive=$(ls -t "target/dist/hearth-"*"-linux-$(dpkg --print-architecture).tar.gz" 2>/dev/null | head -1)
[ -n "$archive" ] || { echo "there is no archive in target/dist: run \"make dist\" first" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/var/tmp}/hearth-service.XXXXXX") group=
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work"
mkdir "$work/archive" "$work/root" "$work/layer" "$work/out"
tar xzf "$archive" -C "$work/archive" --strip-components=1
cp "$0" "$work/test_service.sh"
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then # systemd wants a control group without other processes
  group=/sys/fs/cgroup/hearth-service-$$
  trap 'rm -rf --one-file-system "$work"; rmdir "$group" 2>/dev/null || true' EXIT
  mkdir "$group"
fi
echo "== systemd is booted"
(
  [ -z "$group" ] || echo "$BASHPID" > "$group/cgroup.procs"
  timeout --kill-after 5 600 unshare --pid --mount --uts --ipc --net --cgroup --fork --kill-child --propagation private -- \
    "$0" boot "$work" || true
)
cat "$work/out/said" 2>/dev/null || { cat "$work/out/boot.log"; exit 1; }
grep -q "^== the service was installed" "$work/out/said"
