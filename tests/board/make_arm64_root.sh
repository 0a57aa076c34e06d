#!/usr/bin/env bash
# A folder with Debian 12's arm64 Python 3.11, the real rknn-toolkit-lite2 and what rkdeploy's board side needs, to be run
# with qemu-aarch64-static -L, and the stand-in librknnrt.so built for aarch64 in it.  No chroot, no binfmt_misc, no
# foreign architecture in dpkg: nothing on the host changes.
# What is there already and up to date is kept: the second call takes a moment.
#
#   make_arm64_root.sh ROOT        $PYTHON: an interpreter with uv, for the wheels, and ziglang (default python3)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(realpath -m "${1:?usage: make_arm64_root.sh ROOT}")
python=${PYTHON:-python3}
constraints=$here/../../constraints.txt

die() { echo "level 3: $*" >&2; exit 1; }
pinned() { sed -n "s/^$1==\([^ ]*\).*/\1/p" "$constraints"; }

command -v apt-get >/dev/null || die "apt-get is missing: this needs Debian or Ubuntu"

stamp=$(cat "$0" "$constraints" | sha256sum | cut -c1-16)
if [ "$(cat "$root/.stamp" 2>/dev/null || true)" != "$stamp" ]; then
  rm -rf "$root"
  apt=$root/.apt
  mkdir -p "$apt"/{lists/partial,cache/archives/partial}
  : > "$apt/status"
  options=(-qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State="$apt" -o Dir::State::lists="$apt/lists"
    -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" -o APT::Install-Recommends=false
    -o Acquire::Languages=none -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  apt-get "${options[@]}" -y --download-only install python3-minimal libpython3.11-stdlib libstdc++6 >/dev/null
  for package in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
  rm -rf "$apt"
  # Wheels of aarch64, unpacked here.
  "$python" "$here/../uv.py" pip install --quiet --only-binary :all: --python-version 3.11 \
    --python-platform aarch64-manylinux_2_28 --target "$root/opt/site" --constraints "$constraints" \
    "rknn-toolkit-lite2==$(pinned rknn-toolkit2)" "opencv-python-headless==$(pinned opencv-python)" \
    numpy msgspec typer rich
  # The video package is 60 MB and for one test, which is skipped without it.
  "$python" "$here/../uv.py" pip install --quiet --only-binary :all: --python-version 3.11 --no-deps \
    --python-platform aarch64-manylinux_2_28 --target "$root/opt/video" -r "$here/../../board/requirements-video.txt" ||
    rm -rf "$root/opt/video"
  # As an RK3588 board has it: a list of names that end in NUL.
  mkdir -p "$root/proc/device-tree" "$root/sys/kernel/debug/rknpu" "$root/dev/dri" "$root/tmp"
  printf 'rockchip,rk3588-evb7-v11\0rockchip,rk3588\0' > "$root/proc/device-tree/compatible"
  echo 'RKNPU driver: v0.9.8' > "$root/sys/kernel/debug/rknpu/version"
  : > "$root/dev/dri/renderD129" # rknn-toolkit-lite2 wants it where the host has /.dockerenv
  echo "$stamp" > "$root/.stamp"
fi
"$python" -m ziglang cc -target aarch64-linux-gnu -O1 -Wall -Werror -shared -fPIC -Wl,-soname,librknnrt.so \
  -o "$root/usr/lib/librknnrt.so" "$here/librknnrt_shim.c" -lm -lpthread
# The tests there run this source tree.
CC="$python -m ziglang cc -target aarch64-linux-gnu" "$python" "$here/../../rkdeploy/device/postprocess/native/compile.py" >/dev/null
