# shellcheck shell=bash
# Plan, then act; and the manifest, which lists what was added, so that it can be taken away.
# Part of install.sh, which reads it.

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

# The manifest: one line per thing that was added, in the order of adding.
#   link PATH TARGET | file SHA256 PATH | conf SHA256 PATH | dir PATH | group NAME | user NAME | enabled UNIT
ENTRIES=()
note() { # KIND WORDS...: one entry per thing, whatever its hash was before
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
      *) fail "\"$MANIFEST\" has a line that is not an entry: \"$line\"." "Restore the file, or remove the installation by hand." ;;
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

save_manifest() { write_manifest "$MANIFEST"; }

take_lock() { # two installers at once would undo each other; nothing is left on disk
  local folder
  folder=$(existing_parent "$AT")
  exec 9<"$folder"
  flock --nonblock 9 || fail "Another install.sh is at work." "Wait for it, then try again."
}

carry_out_or_undo() {
  trap on_exit EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  carry_out
  trap - EXIT
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
