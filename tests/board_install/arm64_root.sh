#!/usr/bin/env bash
# usage: arm64_root.sh ROOT: unpack an arm64 Debian 12 with Python 3.11 and systemd, without Debian's python3-venv.
# PYTHON: an interpreter of this machine; where it is 3.11 too, it compiles Python's library, as Debian does.
# Nothing on this machine is changed: apt keeps its own lists and cache in ROOT.apt.
set -euo pipefail
root=$(realpath -m "$1") state=$(realpath -m "$1.apt")
mkdir -p "$state"/{lists/partial,cache/archives/partial} "$root"/usr/{bin,sbin,lib}
: >"$state/status"
apt=(apt-get -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State="$state" -o Dir::State::lists="$state/lists"
  -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" -o APT::Install-Recommends=false
  -o Acquire::Languages=none -o Debug::NoLocking=1 -o APT::Sandbox::User=root -qq)
"${apt[@]}" update
"${apt[@]}" -y --download-only install base-files base-passwd bash coreutils dash diffutils findutils grep gzip \
  libstdc++6 login passwd python3 sed systemd tar util-linux >/dev/null
for folder in bin sbin lib; do ln -sfn usr/$folder "$root/$folder"; done
for package in "$state"/cache/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink
done
# What the packages' own scripts would do.
ln -sfn dash "$root/usr/bin/sh"
cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
: >"$root/etc/shadow"
: >"$root/etc/gshadow"
if "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then # a third of each start under emulation
  "${PYTHON:-python3}" -m compileall -q -s "$root" -p / -x '/(test|lib2to3|distutils|pydoc_data)/' "$root/usr/lib/python3.11"
fi
# What a board has beside Debian.
printf 'librknnrt version: 2.5.0 (stand-in)' >"$root/usr/lib/librknnrt.so"
mkdir -p "$root"/{dev,proc,tmp,kit}
rm -rf "$state"
