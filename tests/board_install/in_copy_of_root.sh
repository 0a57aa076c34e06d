#!/usr/bin/env bash
# usage: in_copy_of_root.sh WORK BOARD SCRIPT: run SCRIPT as root of a copy of this system that is thrown away, in which
# /src/board is BOARD with an install.sh that builds no program, and the machine says that it is a board.
# Needs real root, and overlayfs; the mounts live in a namespace of their own.
set -euo pipefail
# shellcheck disable=SC2016  # expanded by the inner shell
exec unshare --mount --propagation private bash -c '
set -euo pipefail
work=$1 board=$2 script=$3
mount -t tmpfs none "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay none -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
cd "$work/root"
mount -t tmpfs none dev
mknod -m 666 dev/null c 1 3
mkdir -p src/rkdeploy usr/local/bin
cp -r "$board" src/board
cp "$board/../pyproject.toml" src/
printf "#!/bin/sh\nif [ \"\$1\" = -m ]; then echo aarch64; else exec /usr/bin/uname \"\$@\"; fi\n" >usr/local/bin/uname
printf "#!/bin/sh\n" >usr/local/bin/systemctl
chmod +x usr/local/bin/uname usr/local/bin/systemctl
sed -i "/^build_program() {/,/^}/c\\
build_program() {\\
  rm -rf \"\$AT\"\\
  mkdir -p \"\$AT/bin\"\\
  printf \"#!/bin/sh\\\\necho rkdeploy 0\\\\n\" >\"\$AT/bin/rkdeploy\"\\
  cp \"\$AT/bin/rkdeploy\" \"\$AT/bin/python\"\\
  chmod +x \"\$AT/bin/rkdeploy\" \"\$AT/bin/python\"\\
  echo \"\$FINGERPRINT\" >\"\$AT/fingerprint\"\\
  write_manifest \"\$MANIFEST\"\\
}" src/board/install/program.sh
cp "$script" src/script.sh
exec chroot . /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -eu /src/script.sh
' in_copy_of_root "$@"
