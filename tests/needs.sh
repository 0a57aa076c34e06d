#!/usr/bin/env bash
# Debian packages that the slow tests need beyond Python; nothing is done where they are all there.  Run as root.
set -euo pipefail
missing=()
need() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing+=("${@:2}"); }
need gcc gcc libc6-dev                     # the stand-in for librknnrt; the decode's C library
need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
need qemu-aarch64-static qemu-user-static  # the board's own packages, emulated
need sshd openssh-server                   # rkdeploy push
need ssh openssh-client
need shellcheck shellcheck                 # board/install.sh
need systemd-analyze systemd
need chromium chromium                     # the web view
/usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null || missing+=(
  python3-gi gir1.2-gst-rtsp-server-1.0      # an RTSP camera
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly
)
[ ${#missing[@]} -eq 0 ] || {
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
}
