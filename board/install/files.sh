# shellcheck shell=bash
# Folders and files outside the prefix.
# Part of install.sh, which reads it.

content_of() { # NAME: the file of that name next to this script, with this installation's user and prefix
  sed -e "s|^User=.*|User=$USER_NAME|" -e "s|^Group=.*|Group=$GROUP_NAME|" -e "s|/opt/rkdeploy/|$PREFIX/|g" "$HERE/$1"
}

plan_folder() { # PATH and every missing one above it
  local path=$1
  [ ! -d "$ROOT$path" ] || return 0
  case " ${PLANNED_FOLDERS:-} " in *" $path "*) return 0 ;; esac
  [ "$path" = / ] || plan_folder "$(parent_of "$path")"
  PLANNED_FOLDERS="${PLANNED_FOLDERS:-} $path"
  plan "make the folder \"$path\"" mkdir -p "$ROOT$path"
  note dir "$path"
}

plan_home() { # PATH OWNER MODE
  plan_folder "$(parent_of "$1")"
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
  real=$(cd -P "$(parent_of "$ROOT$1")" && pwd -P)/${1##*/}
  if [ "$1" = "$HOME_DIR" ]; then real=$(readlink -f "$ROOT$1"); fi
  cd -P "$ROOT$1"
  [ "$(pwd -P)" = "$real" ] || fail "\"$ROOT$1\" was exchanged for a link." "Find out who did, and try again."
  [ -n "$ROOT" ] || chown "$2:$GROUP_NAME" .
  chmod "0$3" . # five digits: four would leave a set-group-ID bit that a folder inherited
)

plan_file() { # NAME PATH: ours, replaced when it differs
  local wanted found
  wanted=$(content_of "$1" | sha256_of_input)
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
  plan_folder "$(parent_of "$2")"
  plan "write \"$2\"$by_hand" put_file "$1" "$2" 644
  RELOAD=yes
}

plan_conf() { # NAME PATH: the administrator's once it is there
  [ ! -f "$ROOT$2" ] || return 0
  plan_folder "$(parent_of "$2")"
  plan "write \"$2\"" put_file "$1" "$2" 644
  note conf "$(content_of "$1" | sha256_of_input)" "$2"
}

put_file() {
  rm -f "$ROOT$2.new" # not through a link
  content_of "$1" >"$ROOT$2.new"
  chmod "$3" "$ROOT$2.new"
  mv -T "$ROOT$2.new" "$ROOT$2"
}

plan_link() {
  if [ ! -L "$ROOT$LINK" ]; then
    plan_folder "$(parent_of "$LINK")"
    plan "link \"$LINK\" to \"$PREFIX/bin/rkdeploy\"" put_link
  fi
  note link "$PREFIX/bin/rkdeploy" "$LINK"
}

put_link() {
  ln -sfn "$PREFIX/bin/rkdeploy" "$ROOT$LINK.new"
  mv -T "$ROOT$LINK.new" "$ROOT$LINK"
}
