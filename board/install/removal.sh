# shellcheck shell=bash
# Taking away what the manifest lists.
# Part of install.sh, which reads it.

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

plan_removal() {
  local entry
  for entry in "${ENTRIES[@]}"; do PLAN+=("take away: $entry"); done
  plan "take away: $PREFIX" remove_all
}
