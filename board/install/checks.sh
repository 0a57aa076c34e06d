# shellcheck shell=bash
# What must hold before anything is changed.
# Part of install.sh, which reads it.

need_root() {
  [ -n "$ROOT" ] || [ $DRY_RUN = yes ] || [ "$(id -u)" = 0 ] || fail "This needs root." "Run it with sudo."
}

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
  wanted=$(sed -n 's/^rknn-toolkit-lite2==\([0-9.]*\).*/\1/p' "$HERE/requirements.txt")
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
