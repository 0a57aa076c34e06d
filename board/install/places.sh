# shellcheck shell=bash
# Places that root writes in: no other user may be able to replace them, or a folder above them, by a link.
# Part of install.sh, which reads it.

require_safe_place() { # PATH: root writes there, so no other user may be able to replace a folder above it
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
    folder=$(parent_of "$folder")
  done
}

check_places() {
  local path
  for path in "$PREFIX" "$HOME_DIR" "$CONF" "$UNIT" "$LINK" "$RULES"; do
    require_safe_place "$(parent_of "$path")"
  done
}

# A user who may push may write in HOME_DIR, and so replace its content by a link to any place.
require_own_folder() { # PATH: a folder, and no link; HOME_DIR itself may be one of root's, to a disk for data
  local path=$ROOT$1
  if [ -L "$path" ] && { [ "$1" != "$HOME_DIR" ] || [ "$(stat -c %u "$path")" != 0 ]; }; then
    fail "\"$path\" is a link, to \"$(readlink "$path")\", expected a folder." \
      "This script never follows it. Find out who made it, and remove it."
  fi
  if [ -e "$path" ] && [ ! -d "$path" ]; then fail "\"$path\" is not a folder." "Move it away."; fi
}
