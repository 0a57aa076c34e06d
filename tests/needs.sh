#!/usr/bin/env bash
# Debian packages that the tests need beyond Python; nothing is done where they are all there.
# As root or with a sudo that asks nothing.  Elsewhere it says what is missing, and the tests that need it are skipped.
# usage: needs.sh [venv]    venv: only what makes a virtual environment, for the interpreter that PYTHON names
set -euo pipefail
PYTHON=${PYTHON:-python3}
missing=()
need() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing+=("${@:2}"); }

"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
  missing+=("$("$PYTHON" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')")
if [ "${1:-}" != venv ]; then
  need readelf binutils                      # what is in that library
  need qemu-aarch64-static qemu-user-static  # the board's own packages, emulated
  need sshd openssh-server                   # rkdeploy push
  need ssh openssh-client
  need mosquitto mosquitto                   # an MQTT broker
  need systemd-analyze systemd
  need chromium chromium                     # the web view
  need jq jq                                 # commands on the pages
  /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null || missing+=(
    python3-gi gir1.2-gst-rtsp-server-1.0      # an RTSP camera
    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly
  )
fi
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
  echo "Not installed, and not installable here (no root, or no apt-get): ${missing[*]}" >&2
  if [ "${1:-}" = venv ]; then exit 1; fi
  echo "The tests that need them are skipped; the summary names each with its reason." >&2
  exit 0
fi
echo "Installing what the tests need: ${missing[*]}"
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
