"""Scripts that run on the board: POSIX shell, and programs that every Debian or busybox image has.  They need no
Python.

Every value comes in as a positional parameter, never as program text.  Facts go to stdout as `rkdeploy: KEY VALUE`, so
that other output of a login shell does no harm; a refusal is the fact `refused REASON DETAIL`.
"""

from __future__ import annotations

_BEGIN = """
set -eu
LC_ALL=C; export LC_ALL
umask 022
say() { printf "rkdeploy: %s\\n" "$*"; }
refuse() { say refused "$@"; exit 3; }
# Others may write in home: what root does there must not follow a link of theirs.
in_bundles() {
  cd -P "$home/bundles"
  here=$(pwd -P)
  [ "$here" = "$(cd -P "$home" && pwd -P)/bundles" ] || refuse no-folder bundles
}
link_of() { if [ -L "$1" ]; then readlink "$1"; fi; }
home=$1
"""

# Its parameters: HOME NAME
EXAMINE = (
    _BEGIN
    + """
for tool in tar sha256sum mktemp df mv ln readlink find sync; do
  command -v "$tool" >/dev/null 2>&1 || refuse tool "$tool"
done
[ -d "$home" ] || refuse no-home
[ -w "$home" ] || refuse not-writable "$(id -un)"
mkdir -p "$home/bundles"
in_bundles
[ -w . ] || refuse not-writable "$(id -un)"
say free_kb "$(df -Pk . | { read -r _; read -r _ _ _ free _; echo "$free"; })"
say current "$(link_of "$home/current")"
say previous "$(link_of "$home/previous")"
whole() { cd "$1" 2>/dev/null && sha256sum -c SHA256SUMS >/dev/null 2>&1; }
if [ -n "$2" ] && (whole "$home/bundles/$2"); then say present "$2"; fi
if [ -r /proc/device-tree/compatible ]; then say compatible "$(tr "\\000" " " </proc/device-tree/compatible)"; fi
if command -v rkdeploy >/dev/null 2>&1 || [ -x /usr/local/bin/rkdeploy ]; then say program yes; fi
"""
)

# Its parameters: HOME NAME; a tar archive on stdin.  Nothing but the last mv makes it visible.
UPLOAD = (
    _BEGIN
    + """
name=$2
in_bundles
find . -maxdepth 1 -name ".*.partial-*" -mmin +1440 -exec rm -rf {} +
trap "" PIPE
trap "exit 129" HUP INT TERM
partial=$(mktemp -d ".$name.partial-XXXXXX")
trap 'rm -rf "$partial" "$partial.old"' EXIT
(
  cd -P "$partial"
  if [ "$(pwd -P)" != "$here/$partial" ] || [ ! -O . ]; then refuse no-folder "bundles/$partial"; fi
  tar -xof - || refuse unpack
  sha256sum -c SHA256SUMS >/dev/null || refuse sums
  chmod 755 .
)
sync
if [ -e "$name" ]; then mv -T "$name" "$partial.old"; fi
mv -T "$partial" "$name"
sync
say stored "$name"
"""
)

_SWITCH = """
[ -d "$home" ] || refuse no-home
cd "$home"
[ -w . ] || refuse not-writable "$(id -un)"
point() {
  fresh=$(mktemp -u ".$1.XXXXXX")
  ln -sn "$2" "$fresh"
  mv -T "$fresh" "$1"
}
switch() {
  for link in current previous; do
    if [ -e "$link" ] && [ ! -L "$link" ]; then refuse no-link "$link"; fi
  done
  old=$(link_of current)
  if [ "$old" = "$1" ]; then say unchanged "$old"; exit 0; fi
  if [ -n "$old" ] && [ -d "$old" ]; then point previous "$old"; fi
  point current "$1"
  sync
  say replaced "$old"
  say current "$1"
}
"""

# Its parameters: HOME NAME
ACTIVATE = (
    _BEGIN
    + _SWITCH
    + """
[ -f "bundles/$2/SHA256SUMS" ] || refuse gone "$2"
switch "bundles/$2"
"""
)

# Its parameters: HOME NAME.  Of several builds of one name, a chain takes the one with the latest time.
REFRESH = (
    _BEGIN
    + """
in_bundles
[ -f "$2/SHA256SUMS" ] || refuse gone "$2"
touch "$2"
say refreshed "$2"
"""
)

# Its parameter: HOME
ROLL_BACK = (
    _BEGIN
    + _SWITCH
    + """
back=$(link_of previous)
[ -n "$back" ] || refuse no-previous
[ "$back" != "$(link_of current)" ] || refuse no-previous
[ -d "$back" ] || refuse gone "$back"
(cd "$back" && sha256sum -c SHA256SUMS >/dev/null) || refuse sums
switch "$back"
"""
)

# Its parameter: HOME, unused
RESTART = (
    _BEGIN
    + """
command -v systemctl >/dev/null 2>&1 || refuse tool systemctl
root=
if [ "$(id -u)" != 0 ]; then
  root="sudo -n"
  sudo -n true 2>/dev/null || refuse no-root "$(id -un)"
fi
$root systemctl restart rkdeploy.service || refuse not-started
sleep 2
state=$(systemctl is-active rkdeploy.service || true)
say state "$state"
if [ "$state" != active ]; then $root journalctl -u rkdeploy.service -n 5 --no-pager -o cat >&2 || true; fi
"""
)
