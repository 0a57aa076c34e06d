#!/usr/bin/env bash
# What the slow tests here need and a plain Debian machine has not; nothing is done where it is all there.
set -euo pipefail
missing=()
need() { command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing+=("$2"); }
need sshd openssh-server
need ssh openssh-client
need shellcheck shellcheck
need systemd-analyze systemd
need qemu-aarch64-static qemu-user-static
[ ${#missing[@]} -eq 0 ] || {
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
}
