# shellcheck shell=bash
# Messages, and functions for files and folders that every part uses.
# Part of install.sh, which reads it.

fail() { # MESSAGE [HINT]
  printf 'error: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf '  %s\n' "$2" >&2
  exit 1
}

warn() { printf 'warning: %s\n' "$1" >&2; }

# No program is started for the words of a path: under an emulator each one takes a tenth of a second.
parent_of() { # ABSOLUTE PATH without a trailing slash
  local parent=${1%/*}
  printf '%s\n' "${parent:-/}"
}

existing_parent() {
  local folder=$1
  while [ ! -d "$folder" ]; do folder=$(parent_of "$folder"); done
  printf '%s\n' "$folder"
}

sha256_of_input() {
  local sum
  sum=$(sha256sum)
  printf '%s\n' "${sum%% *}"
}

sha256_of() { sha256_of_input <"$1"; }
