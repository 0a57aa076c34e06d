#!/usr/bin/env bash
# usage: in_arm64_root.sh ROOT KIT COMMAND...: run COMMAND as root of an arm64 ROOT under qemu, with KIT at /kit.
# The binfmt handler and the mounts live in namespaces of their own: this machine's are not touched.
# Needs real root, kernel 6.7 or newer (binfmt_misc for each user namespace), qemu-user-static.
set -euo pipefail
gate=$(mktemp -u)
mkfifo "$gate" "$gate.pid"
trap 'rm -f "$gate" "$gate.pid"' EXIT
# shellcheck disable=SC2016  # expanded by the inner shell
unshare --user --mount bash -c '
set -e
gate=$0 root=$1 kit=$2
shift 2
echo $$ >"$gate.pid"
read -r _ <"$gate"
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
magic="\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
mask="\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
printf %s ":qemu-aarch64:M::$magic:$mask:/usr/bin/qemu-aarch64-static:OCF" >/proc/sys/fs/binfmt_misc/register
mount --rbind /proc "$root/proc"
mount --bind "$kit" "$root/kit"
mount -t tmpfs none "$root/tmp"
mount -t tmpfs none "$root/dev"
mkdir "$root/dev/dri"
: >"$root/dev/dri/renderD129"
for device in null zero urandom; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root "$@"
' "$gate" "$@" </dev/null &
job=$!
read -r pid <"$gate.pid"
echo "0 0 65536" >"/proc/$pid/uid_map"
echo "0 0 65536" >"/proc/$pid/gid_map"
echo go >"$gate"
wait $job
