# shellcheck shell=bash
# What the command line says.
# Part of install.sh, which reads it.

WHEELS='' PYTHON='' USER_NAME='' WINDOW=no VIDEO=no ENABLE=no PREFIX=/opt/rkdeploy ROOT='' PURGE=no DRY_RUN=no UNINSTALL=no

usage() {
  cat <<END
usage: install.sh [options]              install or bring up to date
       install.sh --uninstall [options]  remove what it added

  --wheels DIR    install from this folder, without a network (make_wheels.sh fills one);
                  default: the folder "wheels" next to this script, if there is one
  --python FILE   the interpreter to use; default: the first of 3.10 to 3.14 that is found
  --user NAME     the service's user; default: as before, or rkdeploy, made where it is missing
  --window        with OpenCV's windows, for a board with a screen; kept by later runs
  --video         with pyav-rkmpp, which uses the board's video decoder and encoder (60 MB); kept by later runs
  --enable        start the service now and on every boot; without this nothing is enabled
  --prefix DIR    default: /opt/rkdeploy
  --root DIR      install below DIR, to make an image: no user is made, no service is touched
  --purge         with --uninstall: bundles, outputs and changed configuration too
  --dry-run       check and say what would be done
END
}

misused() {
  printf 'error: %s\n' "$1" >&2
  usage >&2
  exit 2
}

read_options() { # the command line, into the variables above
  while [ $# -gt 0 ]; do
    case $1 in
      --wheels | --python | --user | --prefix | --root)
        if [ $# -lt 2 ] || [ -z "$2" ]; then misused "$1 needs a value."; fi
        set_value "$1" "$2"
        shift
        ;;
      --window) WINDOW=yes ;;
      --video) VIDEO=yes ;;
      --enable) ENABLE=yes ;;
      --purge) PURGE=yes ;;
      --dry-run) DRY_RUN=yes ;;
      --uninstall) UNINSTALL=yes ;;
      -h | --help) usage && exit 0 ;;
      *) misused "Unknown option \"$1\"." ;;
    esac
    shift
  done
}

set_value() { # OPTION VALUE
  case $1 in
    --wheels) WHEELS=$2 ;;
    --python) PYTHON=$2 ;;
    --user) USER_NAME=$2 ;;
    --prefix) PREFIX=${2%/} ;;
    --root) ROOT=${2%/} ;;
  esac
}

check_options() {
  # The prefix and the user's name go into a unit file and a shebang: plain characters only.
  [[ $PREFIX =~ ^(/[A-Za-z0-9_][A-Za-z0-9._-]*)+$ ]] || misused "--prefix \"$PREFIX\" is not a plain absolute path."
  [[ ${USER_NAME:-x} =~ ^[a-z_][a-z0-9_-]{0,30}$ ]] || misused "--user \"$USER_NAME\" is not a user name."
  [ -z "$ROOT" ] || [[ $ROOT == /* ]] || misused "--root \"$ROOT\" is not an absolute path."
  [ $PURGE = no ] || [ $UNINSTALL = yes ] || misused "--purge goes with --uninstall."
  [ $ENABLE = no ] || [ $UNINSTALL = no ] || misused "--enable does not go with --uninstall."
}

settle_paths() { # every path in full: the working directory is left
  [ -n "$WHEELS" ] || [ ! -d "$HERE/wheels" ] || WHEELS=$HERE/wheels
  [[ ${WHEELS:-/} == /* ]] || WHEELS=$PWD/$WHEELS
  [[ $PYTHON != */* || $PYTHON == /* ]] || PYTHON=$PWD/$PYTHON
  cd / # Python looks for modules where it is started: not in a folder that others write
  readonly AT=$ROOT$PREFIX NEW=$ROOT$PREFIX.new OLD=$ROOT$PREFIX.old
  readonly MANIFEST=$AT/manifest
}
