#!/usr/bin/env bash
# On the host: makes a folder that installs rkdeploy on a board without a network.
# usage: make_wheels.sh [--python 3.11] [--window] [--video] [--out DIR]
#   --python  the board's Python: 3.10 (Ubuntu 22.04), 3.11 (Debian 12), 3.12 (Ubuntu 24.04), 3.13 (Debian 13), 3.14 (Ubuntu 26.04)
#   --window  with OpenCV's windows, for a board with a screen
#   --video   with pyav-rkmpp, which uses the board's video decoder and encoder (60 MB)
# Then: copy the folder to the board and run install.sh in it.
set -euo pipefail

fail() {
  printf 'error: %s\n' "$1" >&2
  exit "${2:-1}"
}

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly ZIG='ziglang==0.15.2'
VERSION=3.11 WINDOW=no VIDEO=no OUT=''
while [ $# -gt 0 ]; do
  case $1 in
    --python | --out)
      if [ $# -lt 2 ] || [ -z "$2" ]; then fail "$1 needs a value." 2; fi
      case $1 in --python) VERSION=$2 ;; --out) OUT=$2 ;; esac
      shift
      ;;
    --window) WINDOW=yes ;;
    --video) VIDEO=yes ;;
    -h | --help) sed -n '2,8s/^# //p' "$0" && exit 0 ;;
    *) fail "Unknown option \"$1\"; see --help." 2 ;;
  esac
  shift
done
case $VERSION in
  3.10 | 3.11 | 3.12) OTHERS='>= "3.13"' ;;
  3.13 | 3.14) OTHERS='< "3.13"' ;;
  *) fail "--python \"$VERSION\": expected 3.10 to 3.14." 2 ;;
esac
OUT=${OUT:-$HERE/../build/board-py$VERSION}
PYTHON=${PYTHON:-python3}
"$PYTHON" -m pip --version >/dev/null 2>&1 || fail "\"$PYTHON\" has no pip; name another one with PYTHON=."
if [ -e "$OUT" ] && [ ! -f "$OUT/install.sh" ]; then fail "\"$OUT\" exists and was not made by this script."; fi

PARTIAL=$(mktemp -d)
trap 'rm -rf "$PARTIAL"' EXIT
OPENCV='opencv-python-headless'
if [ $WINDOW = yes ]; then OPENCV='opencv-python'; fi
FILES=("$HERE/requirements.txt")
if [ $VIDEO = yes ]; then FILES+=("$HERE/requirements-video.txt"); fi
sed -e 's/ *#.*//' -e '/^$/d' -e "/python_version $OTHERS/d" -e 's/ *;.*//' -e "s/^opencv-python-headless==/$OPENCV==/" "${FILES[@]}" >"$PARTIAL/pins.txt"
PIP=("$PYTHON" -m pip --disable-pip-version-check --quiet)
"${PIP[@]}" download --no-deps --only-binary=:all: --implementation cp --python-version "$VERSION" \
  --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 \
  --requirement "$PARTIAL/pins.txt" 'pip>=23' --dest "$PARTIAL/wheels"
# Boards have no compiler: the decode's C library is compiled here, by one that any host can install (100 MB), or has.
COMPILER=$("$PYTHON" -c 'import importlib.metadata, sys, ziglang
sys.exit("ziglang==" + importlib.metadata.version("ziglang") != sys.argv[1] or print(ziglang.__path__[0]))' "$ZIG" 2>/dev/null) ||
  { "${PIP[@]}" install --no-deps --target "$PARTIAL/zig" "$ZIG" && COMPILER=$PARTIAL/zig/ziglang; }
WHEEL=(wheel --no-deps)
if "$PYTHON" -c 'import hatchling' 2>/dev/null; then WHEEL+=(--no-build-isolation); fi # else pip fetches it for this wheel alone
CC="$COMPILER/zig cc -target aarch64-linux-gnu" ZIG_GLOBAL_CACHE_DIR=${ZIG_GLOBAL_CACHE_DIR:-$PARTIAL/zig/cache} \
  ZIG_LOCAL_CACHE_DIR=$PARTIAL/zig/cache \
  "${PIP[@]}" "${WHEEL[@]}" "$HERE/.." --wheel-dir "$PARTIAL/wheels"
BUILT=("$PARTIAL"/wheels/rkdeploy-*_aarch64.whl)
[ -f "${BUILT[0]}" ] || fail "The wheel of rkdeploy has no C library for aarch64. Run in $HERE/..: pip wheel --no-deps --verbose ."
(cd "$PARTIAL/wheels" && sha256sum -- *.whl >SHA256SUMS)

mkdir -p "$OUT"
rm -rf "$OUT/wheels"
cp -r "$PARTIAL/wheels" "$OUT/wheels"
rm -rf "$OUT/install"
cp -r "$HERE"/{install,install.sh,requirements.txt,requirements-video.txt,rkdeploy.service,50-backoff.conf,99-rkdeploy-npu.rules,run.conf,README.md} "$OUT"
WHEELS=("$OUT"/wheels/*.whl)
echo "$OUT: ${#WHEELS[@]} wheels for Python $VERSION, $(du -sh "$OUT" | cut -f1)"
