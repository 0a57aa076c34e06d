#!/usr/bin/env bash
# Installs rkdeploy on a Rockchip board (Debian or Ubuntu, arm64): checks, says what it will do, then does it.
# See README.md beside this file.  A second run with the same input changes nothing.
set -euo pipefail
umask 022
export LC_ALL=C PYTHONDONTWRITEBYTECODE=1

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
readonly NEEDED_KB=500000            # 150 MB installed, twice during an update, and room for pip
readonly HOME_DIR=/var/lib/rkdeploy  # rkdeploy/push.py and rkdeploy.service know it too
readonly UNIT=/etc/systemd/system/rkdeploy.service
readonly CONF=/etc/rkdeploy/run.conf
readonly LINK=/usr/local/bin/rkdeploy
readonly RULES=/etc/udev/rules.d/99-rkdeploy-npu.rules
readonly BACKOFF=/etc/systemd/system/rkdeploy.service.d/50-backoff.conf

usage() {
  cat <<END
usage: install.sh [options]              install or bring up to date
       install.sh --uninstall [options]  remove what it added

  --wheels DIR    install from this folder, without a network (make_wheels.sh fills one);
                  default: the folder "wheels" beside this script, if there is one
  --python FILE   the interpreter to use; default: the first of 3.10 to 3.12 that is found
  --user NAME     the service's user; default: as before, or rkdeploy, made where it is missing
  --window        with OpenCV's windows, for a board with a screen; kept by later runs
  --enable        start the service now and on every boot; without this nothing is enabled
  --prefix DIR    default: /opt/rkdeploy
  --root DIR      install below DIR, to make an image: no user is made, no service is touched
  --purge         with --uninstall: bundles, outputs and changed configuration too
  --dry-run       check and say what would be done
END
}

fail() { # MESSAGE [WAY OUT]
  printf 'error: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '  %s\n' "$2" >&2
  exit 1
}

misused() {
  printf 'error: %s\n' "$1" >&2
  usage >&2
  exit 2
}

warn() { printf 'warning: %s\n' "$1" >&2; }

# ---------------------------------------------------------------------------------------------- options

WHEELS='' PYTHON='' USER_NAME='' WINDOW=no ENABLE=no PREFIX=/opt/rkdeploy ROOT='' PURGE=no DRY_RUN=no UNINSTALL=no
while [ $# -gt 0 ]; do
  case $1 in
    --wheels | --python | --user | --prefix | --root)
      if [ $# -lt 2 ] || [ -z "$2" ]; then misused "$1 needs a value."; fi
      case $1 in
        --wheels) WHEELS=$2 ;;
        --python) PYTHON=$2 ;;
        --user) USER_NAME=$2 ;;
        --prefix) PREFIX=${2%/} ;;
        --root) ROOT=${2%/} ;;
      esac
      shift
      ;;
    --window) WINDOW=yes ;;
    --enable) ENABLE=yes ;;
    --purge) PURGE=yes ;;
    --dry-run) DRY_RUN=yes ;;
    --uninstall) UNINSTALL=yes ;;
    -h | --help) usage && exit 0 ;;
    *) misused "Unknown option \"$1\"." ;;
  esac
  shift
done
# The prefix and the user's name go into a unit file and a shebang: plain characters only.
[[ $PREFIX =~ ^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$ ]] || misused "--prefix \"$PREFIX\" is no plain absolute path."
[[ ${USER_NAME:-x} =~ ^[a-z_][a-z0-9_-]{0,30}$ ]] || misused "--user \"$USER_NAME\" is no user name."
[ -z "$ROOT" ] || [[ $ROOT == /* ]] || misused "--root \"$ROOT\" is no absolute path."
[ $PURGE = no ] || [ $UNINSTALL = yes ] || misused "--purge goes with --uninstall."
[ $ENABLE = no ] || [ $UNINSTALL = no ] || misused "--enable does not go with --uninstall."

[ -n "$WHEELS" ] || [ ! -d "$HERE/wheels" ] || WHEELS=$HERE/wheels
[[ ${WHEELS:-/} == /* ]] || WHEELS=$PWD/$WHEELS
[[ $PYTHON != */* || $PYTHON == /* ]] || PYTHON=$PWD/$PYTHON
cd / # Python looks for modules where it is started: not in a folder that others write

readonly AT=$ROOT$PREFIX NEW=$ROOT$PREFIX.new OLD=$ROOT$PREFIX.old
readonly MANIFEST=$AT/manifest

# ---------------------------------------------------------------------------------------------- plan, then act

PLAN=() ACTIONS=()
plan() { # TEXT COMMAND [ARGUMENT...]
  PLAN+=("$1")
  shift
  ACTIONS+=("$(printf '%q ' "$@")")
}

carry_out() {
  if [ ${#PLAN[@]} -eq 0 ]; then
    echo "Nothing to change."
    return
  fi
  if [ $DRY_RUN = yes ]; then echo "Would:"; else echo "Will:"; fi
  printf '  %s\n' "${PLAN[@]}"
  [ $DRY_RUN = no ] || return 0
  local action
  CHANGING=yes
  for action in "${ACTIONS[@]}"; do eval "$action"; done
}

# The manifest: one line a thing that was added, in the order of adding.
#   link PATH TARGET | file SHA256 PATH | conf SHA256 PATH | dir PATH | group NAME | user NAME | enabled UNIT
ENTRIES=()
note() { # KIND WORDS...: once a thing, whatever its hash was before
  local kept=() entry line="$*"
  for entry in "${ENTRIES[@]}"; do
    [ "${entry%% *} ${entry##* }" = "${line%% *} ${line##* }" ] || kept+=("$entry")
    if [ "$entry" = "$line" ]; then return; fi
  done
  ENTRIES=("${kept[@]}" "$line")
}

read_manifest() {
  ENTRIES=()
  [ -f "$MANIFEST" ] || return 0
  local line
  while IFS= read -r line; do
    case $line in
      '#'* | '') ;;
      'link /'* | 'file '* | 'conf '* | 'dir /'* | 'group '* | 'user '* | 'enabled '*) ENTRIES+=("$line") ;;
      *) fail "\"$MANIFEST\" has a line that is no entry: \"$line\"." "Restore the file, or remove the installation by hand." ;;
    esac
  done <"$MANIFEST"
}

write_manifest() { # FILE
  {
    echo "# What install.sh added; install.sh --uninstall reads it."
    printf '%s\n' "${ENTRIES[@]}"
  } >"$1.tmp"
  mv -T "$1.tmp" "$1"
}

sha256_of() { sha256sum <"$1" | cut -d' ' -f1; }

service_manager_runs() { [ -z "$ROOT" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }

reload_daemons() {
  if service_manager_runs; then systemctl daemon-reload; fi
  if [ -z "$ROOT" ] && [ -S /run/udev/control ]; then
    udevadm control --reload
    udevadm trigger --action=change --subsystem-match=drm --subsystem-match=misc --subsystem-match=dma_heap
  fi
}

take_lock() { # two installers at once would undo each other; nothing is left on disk
  local folder
  folder=$(existing_parent "$AT")
  exec 9<"$folder"
  flock --nonblock 9 || fail "Another install.sh is at work." "Wait for it, then try again."
}

existing_parent() {
  local folder=$1
  while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
  printf '%s\n' "$folder"
}

require_safe_place() { # PATH: root writes there, so that nobody else may exchange what is above it
  local folder real
  folder=$(existing_parent "$ROOT$1")
  real=$(readlink -f "$folder")
  if [ -n "$ROOT" ]; then
    [[ $real/ == "$(readlink -f "$ROOT")"/* ]] ||
      fail "\"$ROOT$1\" leads out of \"$ROOT\" by a link, to \"$real\"." "Make that link relative, or a folder."
    return 0
  fi
  require_roots_own "$folder"
  require_roots_own "$real"
}

require_roots_own() { # FOLDER and all above it
  local folder=$1 owner group mode
  while :; do
    read -r owner group mode <<<"$(stat -L -c '%u %G %a' "$folder")"
    case $group in root | staff) mode=$((8#$mode & ~8#20)) ;; *) mode=$((8#$mode)) ;; esac # Debian's staff may be root
    if [ "$owner" != 0 ] || [ $((mode & 8#22)) -ne 0 ]; then
      fail "\"$folder\" can be changed by others than root: what is installed below it could be exchanged." \
        "chown root:root \"$folder\"; chmod go-w \"$folder\""
    fi
    [ "$folder" != / ] || return 0
    folder=$(dirname "$folder")
  done
}

check_places() {
  local path
  for path in "$(dirname "$PREFIX")" "$(dirname "$HOME_DIR")" "$(dirname "$CONF")" "$(dirname "$UNIT")" \
    "$(dirname "$LINK")" "$(dirname "$RULES")"; do
    require_safe_place "$path"
  done
}

need_root() {
  [ -n "$ROOT" ] || [ $DRY_RUN = yes ] || [ "$(id -u)" = 0 ] || fail "This needs root." "Run it with sudo."
}

# ---------------------------------------------------------------------------------------------- checks

check_machine() {
  local machine
  machine=$(uname -m)
  [ "$machine" = aarch64 ] ||
    fail "This machine is \"$machine\", expected aarch64: this script is for the board." \
      "On a PC: make setup. For the board's wheels: board/make_wheels.sh."
  local tool
  for tool in sha256sum flock df sed; do
    command -v $tool >/dev/null || fail "The program \"$tool\" is missing." "apt-get install coreutils util-linux sed"
  done
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

choose_python() {
  local candidate version seen='' wanted
  wanted=$(wheels_python)
  for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.10}; do
    command -v "$candidate" >/dev/null || continue
    version=$(version_of "$candidate")
    seen="$seen $version"
    case $version in 3.10 | 3.11 | 3.12) ;; *) continue ;; esac
    if [ -n "$wanted" ] && [ "$wanted" != "$version" ]; then continue; fi
    PYTHON=$(command -v "$candidate")
    PYTHON_VERSION=$version
    return
  done
  if [ -n "$wanted" ] && [[ $seen =~ 3\.1[012] ]]; then
    fail "The wheels in \"$WHEELS\" are for Python $wanted; this board has${seen}." \
      "On the host: board/make_wheels.sh --python ${seen##* }"
  fi
  fail "No Python 3.10 to 3.12 was found${seen:+, only$seen}." "apt-get install python3, or name one with --python."
}

check_python() {
  "$PYTHON" -c 'import venv' 2>/dev/null ||
    fail "\"$PYTHON\" has no module venv." "apt-get install python3 (python3-minimal is not enough)."
  # From a wheel folder pip runs out of its own wheel, so that Debian's python3-venv is not needed there.
  [ -n "$WHEELS" ] || "$PYTHON" -c 'import ensurepip' 2>/dev/null ||
    fail "\"$PYTHON\" has no ensurepip." "apt-get install python$PYTHON_VERSION-venv, or install with --wheels."
}

requirements() { # the pins, one a line
  local opencv='opencv-python-headless'
  if [ $WINDOW = yes ]; then opencv='opencv-python'; fi
  sed -e 's/ *#.*//' -e '/^$/d' -e "s/^opencv-python-headless==/$opencv==/" "$HERE/requirements.txt"
}

wheel_of() { # PIN, as name==version: its wheel in $WHEELS, however the name's separators are written
  local name=${1%%==*} version=${1##*==} file base
  for file in "$WHEELS"/*.whl; do
    base=$(basename "$file" | tr 'A-Z.' 'a-z_')
    if [[ $base == "$(tr 'A-Z.-' 'a-z__' <<<"$name")-$(tr . _ <<<"$version")-"* ]]; then
      printf '%s\n' "$file"
      return
    fi
  done
}

wheels_python() { # 3.11 where the folder's wheels are for cp311
  [ -n "$WHEELS" ] || return 0
  local file
  file=$(wheel_of "$(requirements | grep '^numpy==')")
  if [[ $file =~ -cp3([0-9]+)-cp3 ]]; then printf '3.%s\n' "${BASH_REMATCH[1]}"; fi
}

newest() { # the last of the files by version
  [ -e "$1" ] || return 0
  printf '%s\n' "$@" | sort -V | tail -n 1
}

check_wheels() {
  local pin missing=''
  if [ -n "$WHEELS" ]; then
    [ -d "$WHEELS" ] || fail "There is no folder \"$WHEELS\"." "Make one on the host: board/make_wheels.sh"
    WHEELS=$(cd "$WHEELS" && pwd)
    if [ -f "$WHEELS/SHA256SUMS" ]; then
      (cd "$WHEELS" && sha256sum --check --quiet --strict SHA256SUMS >/dev/null 2>&1) ||
        fail "\"$WHEELS\" is not as its SHA256SUMS says: a file is missing or damaged." "Copy the folder again."
    fi
    while read -r pin; do
      [ -n "$(wheel_of "$pin")" ] || missing="$missing $pin"
    done <<<"$(requirements)"
    PIP_WHEEL=$(newest "$WHEELS"/pip-*.whl)
    [ -n "$PIP_WHEEL" ] || missing="$missing pip"
    PROGRAM=$(newest "$WHEELS"/rkdeploy-*.whl)
    [ -n "$PROGRAM" ] || missing="$missing rkdeploy"
    [ -z "$missing" ] ||
      fail "\"$WHEELS\" lacks a wheel for:$missing." "Make the folder again: board/make_wheels.sh$([ $WINDOW = no ] || echo ' --window')"
  elif [ -f "$HERE/../pyproject.toml" ]; then
    PROGRAM=$(cd "$HERE/.." && pwd)
  else
    PROGRAM=$(newest "$HERE"/rkdeploy-*.whl)
    [ -n "$PROGRAM" ] || fail "There is neither --wheels nor rkdeploy's source beside this script." "Give --wheels DIR."
  fi
}

check_space() {
  local folder free
  folder=$(existing_parent "$AT")
  free=$(df -Pk "$folder" | awk_free)
  [ "$free" -ge $NEEDED_KB ] ||
    fail "\"$folder\" has $((free / 1000)) MB free, expected $((NEEDED_KB / 1000)) MB." "Make room, or choose another --prefix."
}

awk_free() { # the fourth column of df's second line; a minimal board has no awk
  local free
  read -r _
  read -r _ _ _ free _
  printf '%s\n' "$free"
}

check_prefix() {
  if [ -d "$OLD" ] && [ ! -e "$AT" ] && [ $DRY_RUN = no ]; then mv -T "$OLD" "$AT"; fi # power was lost between two renames
  if [ -e "$AT" ] && [ ! -f "$MANIFEST" ]; then
    fail "\"$AT\" exists and was not made by this script." "Move it away, or choose another --prefix."
  fi
  local link=$ROOT$LINK
  if { [ -e "$link" ] || [ -L "$link" ]; } && [ "$(readlink "$link" || true)" != "$PREFIX/bin/rkdeploy" ]; then
    fail "\"$link\" exists and is not this installation's." "Move it away."
  fi
}

check_npu() { # none of this stops an installation: drivers and runtime may come later
  local library=$ROOT/usr/lib/librknnrt.so version wanted
  wanted=$(requirements | sed -n 's/^rknn-toolkit-lite2==//p')
  if [ ! -e "$library" ]; then
    warn "\"$library\" is missing: no model runs on the NPU until the vendor's runtime ($wanted) is there."
  else
    version=$(grep -a -o -m 1 'librknnrt version: [0-9][0-9.]*' "$library" | head -n 1 | sed 's/.*: //' || true)
    if [ -z "$version" ]; then
      warn "\"$library\" does not tell its version; rknn-toolkit-lite2 here is $wanted."
    elif [ "$(printf '%s\n' "$version" "$wanted" | sort -V | head -n 1)" != "$wanted" ]; then
      warn "\"$library\" is $version, older than rknn-toolkit-lite2 $wanted: it may refuse models (\"Invalid RKNN model version\")."
    fi
    echo "librknnrt.so: ${version:-version unknown}"
  fi
  if [ -e "$ROOT/dev/rknpu" ]; then
    echo "NPU device: /dev/rknpu"
  elif [ -e "$ROOT/dev/dri/renderD129" ]; then
    echo "NPU device: /dev/dri/renderD129"
  else
    warn "There is no /dev/dri/renderD129 and no /dev/rknpu: the kernel has no NPU driver, or it is not loaded."
  fi
}

check_user() {
  if [ -z "$USER_NAME" ] && [ -f "$ROOT$UNIT" ]; then USER_NAME=$(sed -n 's/^User=//p' "$ROOT$UNIT"); fi
  USER_NAME=${USER_NAME:-rkdeploy}
  GROUP_NAME=$USER_NAME
  if [ -n "$ROOT" ]; then
    warn "User \"$USER_NAME\" and the groups video and render are the image's business: none is made below --root."
  else
    if id -u "$USER_NAME" >/dev/null 2>&1; then GROUP_NAME=$(id -gn "$USER_NAME"); fi
    command -v useradd >/dev/null || fail "The program \"useradd\" is missing." "apt-get install passwd"
  fi
  [ $ENABLE = no ] || command -v systemctl >/dev/null || fail "--enable needs systemd, which is not here." "Leave it out."
}

# ---------------------------------------------------------------------------------------------- changes

fingerprint() { # of everything that decides what is in the prefix
  {
    echo "layout 1"
    echo "$PYTHON_VERSION $(readlink -f "$PYTHON")"
    requirements
    if [ -d "$PROGRAM" ]; then
      (cd "$PROGRAM" && sha256sum pyproject.toml && find rkdeploy -type f ! -name '*.pyc' -exec sha256sum {} + | sort)
    else
      sha256sum <"$PROGRAM"
    fi
  } | sha256sum | cut -d' ' -f1
}

plan_program() {
  FINGERPRINT=$(fingerprint)
  if [ "$(cat "$AT/fingerprint" 2>/dev/null || true)" = "$FINGERPRINT" ] &&
    { [ -n "$ROOT" ] || "$AT/bin/rkdeploy" --version >/dev/null 2>&1; }; then
    return
  fi
  local source=${WHEELS:-the package index}
  plan "make \"$PREFIX\": rkdeploy and $(requirements | wc -l) packages from $source, Python $PYTHON_VERSION" build_program
}

# The service cannot write bytecode later.  What is imported here and the program itself is enough: all of it would take
# longer than the rest of the installation.  Nothing outside the environment is written.
readonly COMPILE_IMPORTED='
import py_compile, sys
import cv2, msgspec, numpy, rich.progress, rkdeploy.cli
for path in [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]:
    if path.startswith(sys.prefix) and path.endswith(".py"):
        py_compile.compile(path)
'

build_program() { # beside its place, then renamed into it
  local pip
  rm -rf "$NEW"
  if [ -n "$WHEELS" ]; then
    "$PYTHON" -m venv --prompt rkdeploy --without-pip "$NEW"
    pip=("$NEW/bin/python" "$PIP_WHEEL/pip" --isolated install --no-index --find-links "$WHEELS")
  else
    "$PYTHON" -m venv --prompt rkdeploy "$NEW"
    pip=("$NEW/bin/python" -m pip install)
  fi
  pip+=(--quiet --disable-pip-version-check --no-cache-dir --root-user-action ignore --no-compile --no-deps)
  requirements >"$NEW/requirements.txt"
  "${pip[@]}" --requirement "$NEW/requirements.txt" || fail "pip could not install the packages; its message is above."
  "${pip[@]}" "$PROGRAM" || fail "pip could not install rkdeploy; its message is above."
  "$NEW/bin/python" -c "$COMPILE_IMPORTED" ||
    fail "What was installed cannot be imported; Python's message is above." \
      "$([ $WINDOW = no ] || echo 'apt-get install libgl1 libglib2.0-0, or leave out --window.')"
  "$NEW/bin/python" -m compileall -q "$NEW"/lib/python*/site-packages/rkdeploy
  find "$NEW/bin" -type f -exec sed -i "s|$NEW|$PREFIX|g" {} +
  sed -i "s|$NEW|$PREFIX|g" "$NEW/pyvenv.cfg"
  echo "$FINGERPRINT" >"$NEW/fingerprint"
  write_manifest "$NEW/manifest" # complete before anything outside the prefix changes, so that it can be undone
  rm -rf "$OLD"
  if [ -e "$AT" ]; then mv -T "$AT" "$OLD"; fi
  mv -T "$NEW" "$AT"
  rm -rf "$OLD"
}

on_exit() { # whatever ended it: the old installation is there, or none
  local code=$?
  trap - EXIT
  trap '' INT TERM HUP
  if [ $code -ne 0 ]; then
    rm -rf "$NEW"
    if [ -d "$OLD" ] && [ ! -e "$AT" ]; then mv -T "$OLD" "$AT"; fi
    if [ "$FRESH" = yes ] && [ "$CHANGING" = yes ]; then
      remove_all >/dev/null 2>&1 || true
      echo "What was done has been taken back." >&2
    fi
  fi
  exit $code
}

content_of() { # NAME: the file of that name beside this script, with this installation's user and prefix
  sed -e "s|^User=.*|User=$USER_NAME|" -e "s|^Group=.*|Group=$GROUP_NAME|" -e "s|/opt/rkdeploy/|$PREFIX/|g" "$HERE/$1"
}

plan_folder() { # PATH and every missing one above it
  local path=$1
  [ ! -d "$ROOT$path" ] || return 0
  case " ${PLANNED_FOLDERS:-} " in *" $path "*) return 0 ;; esac
  [ "$path" = / ] || plan_folder "$(dirname "$path")"
  PLANNED_FOLDERS="${PLANNED_FOLDERS:-} $path"
  plan "make the folder \"$path\"" mkdir -p "$ROOT$path"
  note dir "$path"
}

plan_file() { # NAME PATH: ours, replaced when it differs
  local wanted found
  wanted=$(content_of "$1" | sha256sum | cut -d' ' -f1)
  found=$([ ! -f "$ROOT$2" ] || sha256_of "$ROOT$2")
  [ "$found" = "$wanted" ] || plan_write "$@"
  note file "$wanted" "$2"
}

plan_write() {
  local found listed by_hand=''
  found=$([ ! -f "$ROOT$2" ] || sha256_of "$ROOT$2")
  listed=$(printf '%s\n' "${ENTRIES[@]}" | sed -n "s|^file \\([0-9a-f]*\\) $2\$|\\1|p")
  if [ -n "$found" ] && [ -z "$listed" ]; then
    fail "\"$ROOT$2\" exists and was not made by this script." "Move it away."
  fi
  if [ -n "$found" ] && [ "$found" != "$listed" ]; then by_hand=', which was changed by hand'; fi
  plan_folder "$(dirname "$2")"
  plan "write \"$2\"$by_hand" put_file "$1" "$2" 644
  RELOAD=yes
}

plan_conf() { # NAME PATH: the administrator's once it is there
  [ ! -f "$ROOT$2" ] || return 0
  plan_folder "$(dirname "$2")"
  plan "write \"$2\"" put_file "$1" "$2" 644
  note conf "$(content_of "$1" | sha256sum | cut -d' ' -f1)" "$2"
}

put_file() {
  rm -f "$ROOT$2.new" # not through a link
  content_of "$1" >"$ROOT$2.new"
  chmod "$3" "$ROOT$2.new"
  mv -T "$ROOT$2.new" "$ROOT$2"
}

put_link() {
  ln -sfn "$PREFIX/bin/rkdeploy" "$ROOT$LINK.new"
  mv -T "$ROOT$LINK.new" "$ROOT$LINK"
}

plan_group() {
  [ -z "$ROOT" ] || return 0
  if grep -q "^$1:" /etc/group; then return 0; fi
  plan "make the group \"$1\"" groupadd --system "$1"
  note group "$1"
}

plan_user() {
  [ -z "$ROOT" ] || return 0
  local group
  for group in video render; do plan_group $group; done # the unit names them; a missing one would stop it
  if id -u "$USER_NAME" >/dev/null 2>&1; then return 0; fi
  plan_group "$USER_NAME" # by itself: one that is there, with members, from before --uninstall is taken as it is
  plan "make the system user \"$USER_NAME\"" useradd --system --gid "$USER_NAME" --no-create-home --no-log-init \
    --home-dir "$HOME_DIR" --shell /usr/sbin/nologin "$USER_NAME"
  note user "$USER_NAME"
}

# Whoever may push may write in HOME_DIR, and so exchange what is in it for a link to any place.
require_own_folder() { # PATH: a folder, and no link; HOME_DIR itself may be one of root's, to a disk for data
  local path=$ROOT$1
  if [ -L "$path" ] && { [ "$1" != "$HOME_DIR" ] || [ "$(stat -c %u "$path")" != 0 ]; }; then
    fail "\"$path\" is a link, to \"$(readlink "$path")\", expected a folder." \
      "This script never follows it. Find out who made it, and remove it."
  fi
  if [ -e "$path" ] && [ ! -d "$path" ]; then fail "\"$path\" is no folder." "Move it away."; fi
}

plan_home() { # PATH OWNER MODE
  plan_folder "$(dirname "$1")"
  require_own_folder "$1"
  if [ ! -d "$ROOT$1" ]; then
    plan "make the folder \"$1\", for $2:$GROUP_NAME" own_folder "$1" "$2" "$3"
    note dir "$1"
  elif [ -z "$ROOT" ] && [ "$(stat -L -c %U:%G:%04a "$1")" != "$2:$GROUP_NAME:$3" ]; then
    plan "give \"$1\" to $2:$GROUP_NAME" own_folder "$1" "$2" "$3"
  fi
}

own_folder() ( # PATH OWNER MODE; what is exchanged after the look does not matter: "." stays the folder that was seen
  [ -d "$ROOT$1" ] || mkdir "$ROOT$1"
  require_own_folder "$1"
  real=$(cd -P "$(dirname "$ROOT$1")" && pwd -P)/$(basename "$1")
  if [ "$1" = "$HOME_DIR" ]; then real=$(readlink -f "$ROOT$1"); fi
  cd -P "$ROOT$1"
  [ "$(pwd -P)" = "$real" ] || fail "\"$ROOT$1\" was exchanged for a link." "Find out who did, and try again."
  [ -n "$ROOT" ] || chown "$2:$GROUP_NAME" .
  chmod "0$3" . # five digits: four would leave a set-group-ID bit that a folder inherited
)

systemd_version() { systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p'; }

service_enabled() { [ -L "$ROOT/etc/systemd/system/multi-user.target.wants/rkdeploy.service" ]; }

plan_service() {
  if [ "$FRESH" = no ] && [ ${#PLAN[@]} -gt 0 ] && service_manager_runs && systemctl --quiet is-active rkdeploy.service; then
    plan "restart rkdeploy.service, which is running" systemctl restart rkdeploy.service
  fi
  [ $ENABLE = yes ] || return 0
  if ! service_enabled; then
    plan "start rkdeploy.service on every boot" systemctl ${ROOT:+--root="$ROOT"} --quiet enable rkdeploy.service
    note enabled rkdeploy.service
  fi
  if service_manager_runs && ! systemctl --quiet is-active rkdeploy.service; then
    plan "start rkdeploy.service now" systemctl start rkdeploy.service
  fi
}

save_manifest() { write_manifest "$MANIFEST"; }

install_all() {
  check_machine
  need_root
  if grep -qs '^opencv-python==' "$AT/requirements.txt"; then WINDOW=yes; fi
  check_wheels
  choose_python
  check_python
  check_places
  check_prefix
  check_user
  check_npu
  read_manifest
  FRESH=yes RELOAD=no CHANGING=no
  [ ! -f "$MANIFEST" ] || FRESH=no
  local before="${ENTRIES[*]}"

  plan_folder "$(dirname "$PREFIX")"
  plan_program
  if [ ${#PLAN[@]} -gt 0 ]; then check_space; fi
  plan_user
  plan_home "$HOME_DIR" root 2775
  plan_home "$HOME_DIR/bundles" root 2775
  plan_home "$HOME_DIR/output" "$USER_NAME" 0750
  plan_conf run.conf "$CONF"
  plan_file rkdeploy.service "$UNIT"
  if [ "$(systemd_version)" -ge 254 ] 2>/dev/null; then plan_file 50-backoff.conf "$BACKOFF"; fi
  plan_file 99-rkdeploy-npu.rules "$RULES"
  if [ ! -L "$ROOT$LINK" ]; then
    plan_folder "$(dirname "$LINK")"
    plan "link \"$LINK\" to \"$PREFIX/bin/rkdeploy\"" put_link
  fi
  note link "$PREFIX/bin/rkdeploy" "$LINK"
  if [ $RELOAD = yes ]; then plan "let systemd and udev read their files again" reload_daemons; fi
  plan_service
  if [ $FRESH = no ] && [ "${ENTRIES[*]}" != "$before" ]; then
    ACTIONS=("save_manifest" "${ACTIONS[@]}") # known before it is there: nothing is ever left unlisted
  fi

  [ $DRY_RUN = yes ] || take_lock
  trap on_exit EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  carry_out
  trap - EXIT
  if [ $DRY_RUN = no ] && [ ${#PLAN[@]} -gt 0 ]; then
    echo "Done. $("$AT/bin/python" -m rkdeploy --version) is in $PREFIX."
    echo "To push bundles as another user than root: usermod -aG $GROUP_NAME THE_USER"
    if [ $ENABLE = no ] && ! service_enabled; then
      echo "The service is not enabled. Set its arguments in $CONF, then: systemctl enable --now rkdeploy"
    fi
  fi
}

# ---------------------------------------------------------------------------------------------- removal

remove_listed() { # KIND HASH PATH
  local path=$ROOT$3
  [ -e "$path" ] || return 0
  if [ $PURGE = no ] && [ "$(sha256_of "$path")" != "$2" ]; then
    echo "Kept \"$3\": it was changed after the installation. Remove it with --uninstall --purge, or by hand."
    return 0
  fi
  rm -f "$path"
}

remove_folder() {
  local path=$ROOT$1
  if [ -L "$path" ]; then
    if [ $PURGE = yes ] && [[ $1/ == "$HOME_DIR"/* ]]; then rm -f "$path"; else echo "Kept \"$1\": it is a link."; fi
    return 0
  fi
  [ -d "$path" ] || return 0
  if [ $PURGE = yes ] && [[ $1/ == "$HOME_DIR"/* ]]; then rm -rf "$path"; fi
  [ -d "$path" ] || return 0
  rmdir --ignore-fail-on-non-empty "$path"
  [ ! -d "$path" ] || echo "Kept \"$1\": it is not empty."
}

stop_service() {
  if service_manager_runs; then systemctl --quiet stop rkdeploy.service || true; fi
}

remove_link() { if [ "$(readlink "$ROOT$2" || true)" = "$1" ]; then rm -f "$ROOT$2"; fi; }
remove_user() { if id -u "$1" >/dev/null 2>&1; then userdel "$1"; fi; }
remove_group() { if grep -q "^$1:" /etc/group; then groupdel "$1"; fi; }
remove_program() { rm -rf "$AT" "$NEW" "$OLD"; }

remove_all() { # the newest first; the program with the manifest last, so that a second try finds it
  local index words
  stop_service
  for ((index = ${#ENTRIES[@]} - 1; index >= 0; index--)); do
    read -ra words <<<"${ENTRIES[index]}"
    case ${words[0]} in
      enabled) systemctl ${ROOT:+--root="$ROOT"} --quiet disable "${words[1]}" || true ;;
      link) remove_link "${words[1]}" "${words[2]}" ;;
      file | conf) remove_listed "${words[@]}" ;;
      user) remove_user "${words[1]}" ;;
      group) remove_group "${words[1]}" ;;
      dir) [[ $PREFIX/ == "${words[1]}"/* ]] || remove_folder "${words[1]}" ;;
    esac
  done
  remove_program
  for ((index = ${#ENTRIES[@]} - 1; index >= 0; index--)); do
    read -ra words <<<"${ENTRIES[index]}"
    if [ "${words[0]}" = dir ] && [[ $PREFIX/ == "${words[1]}"/* ]]; then remove_folder "${words[1]}"; fi
  done
  reload_daemons
}

uninstall_all() {
  need_root
  check_places
  [ -f "$MANIFEST" ] || fail "There is no installation in \"$AT\"." "Name its place with --prefix, or --root."
  read_manifest
  local entry
  for entry in "${ENTRIES[@]}"; do PLAN+=("take away: $entry"); done
  plan "take away: $PREFIX" remove_all
  [ $DRY_RUN = yes ] || take_lock
  carry_out
  if [ $DRY_RUN = no ]; then echo "rkdeploy is removed."; fi
}

if [ $UNINSTALL = yes ]; then uninstall_all; else install_all; fi
