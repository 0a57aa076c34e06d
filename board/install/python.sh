# shellcheck shell=bash
# The interpreter, and the wheels that go with it.
# Part of install.sh, which reads it.

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }

choose_python() {
  local candidate version seen='' wanted
  wanted=$(wheels_python)
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python3.10}; do
    command -v "$candidate" >/dev/null || continue
    version=$(version_of "$candidate")
    seen="$seen $version"
    case $version in 3.10 | 3.11 | 3.12 | 3.13 | 3.14) ;; *) continue ;; esac
    if [ -n "$wanted" ] && [ "$wanted" != "$version" ]; then continue; fi
    PYTHON=$(command -v "$candidate")
    PYTHON_VERSION=$version
    return
  done
  if [ -n "$wanted" ] && [[ $seen =~ 3\.1[01234] ]]; then
    fail "The wheels in \"$WHEELS\" are for Python $wanted; this board has${seen}." \
      "On the host: board/make_wheels.sh --python ${seen##* }"
  fi
  fail "No Python 3.10 to 3.14 was found${seen:+, only$seen}." "apt-get install python3, or name one with --python."
}

has_module() { "$PYTHON" -c "from importlib.util import find_spec; raise SystemExit(not find_spec('$1'))" 2>/dev/null; }

check_python() {
  has_module venv ||
    fail "\"$PYTHON\" has no module venv." "apt-get install python3 (python3-minimal is not enough)."
  # From a wheel folder pip runs out of its own wheel, so that Debian's python3-venv is not needed there.
  [ -n "$WHEELS" ] || has_module ensurepip ||
    fail "\"$PYTHON\" has no ensurepip." "apt-get install python$PYTHON_VERSION-venv, or install with --wheels."
}

requirements() { # the pins for the chosen Python, or else for the wheels' one, one per line
  local opencv='opencv-python-headless' others='>= "3.13"'
  if [ $WINDOW = yes ]; then opencv='opencv-python'; fi
  case ${PYTHON_VERSION:-$(wheels_python)} in 3.13 | 3.14) others='< "3.13"' ;; esac
  local files=("$HERE/requirements.txt")
  [ $VIDEO = no ] || files+=("$HERE/requirements-video.txt")
  sed -e 's/ *#.*//' -e '/^$/d' -e "/python_version $others/d" -e 's/ *;.*//' -e "s/^opencv-python-headless==/$opencv==/" "${files[@]}"
}

has_wheel() { # PIN, as name==version: a wheel in $WHEELS, however the name's separators are written
  local name=${1%%==*} version=${1##*==} file base
  name=${name,,}
  for file in "$WHEELS"/*.whl; do
    base=${file##*/}
    base=${base,,}
    if [[ ${base//./_} == "${name//[.-]/_}-${version//./_}-"* ]]; then return 0; fi
  done
  return 1
}

wheels_python() { # 3.11 where the folder's wheels are for cp311
  [ -n "$WHEELS" ] || return 0
  local file
  for file in "$WHEELS"/numpy-*.whl; do
    if [[ $file =~ -cp3([0-9]+)-cp3 ]]; then printf '3.%s\n' "${BASH_REMATCH[1]}"; fi
  done
}

newest() { # the last of the files by version
  [ -e "$1" ] || return 0
  printf '%s\n' "$@" | sort -V | tail -n 1
}

check_wheels() { # and which file the program is
  if [ -n "$WHEELS" ]; then
    check_wheel_folder
  elif [ -f "$HERE/../pyproject.toml" ]; then
    PROGRAM=$(cd "$HERE/.." && pwd)
  else
    PROGRAM=$(newest "$HERE"/rkdeploy-*.whl)
    [ -n "$PROGRAM" ] || fail "There is neither --wheels nor rkdeploy's source next to this script." "Give --wheels DIR."
  fi
}

check_wheel_folder() {
  local pin missing=''
  [ -d "$WHEELS" ] || fail "There is no folder \"$WHEELS\"." "Make one on the host: board/make_wheels.sh"
  WHEELS=$(cd "$WHEELS" && pwd)
  if [ -f "$WHEELS/SHA256SUMS" ]; then
    (cd "$WHEELS" && sha256sum --check --quiet --strict SHA256SUMS >/dev/null 2>&1) ||
      fail "\"$WHEELS\" is not as its SHA256SUMS says: a file is missing or damaged." "Copy the folder again."
  fi
  while read -r pin; do
    has_wheel "$pin" || missing="$missing $pin"
  done <<<"$(requirements)"
  PIP_WHEEL=$(newest "$WHEELS"/pip-*.whl)
  [ -n "$PIP_WHEEL" ] || missing="$missing pip"
  PROGRAM=$(newest "$WHEELS"/rkdeploy-*.whl)
  [ -n "$PROGRAM" ] || missing="$missing rkdeploy"
  [ -z "$missing" ] ||
    fail "\"$WHEELS\" lacks a wheel for:$missing." "Make the folder again: board/make_wheels.sh$([ $WINDOW = no ] || echo ' --window')$([ $VIDEO = no ] || echo ' --video')"
}
