# shellcheck shell=bash
# The program in its virtual environment: made next to its place, then renamed into it.
# Part of install.sh, which reads it.

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
  } | sha256_of_input
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

# The service cannot write bytecode later.  What is imported here and the program itself, without what only a host can
# use, is enough: all of it would take longer than the rest of the installation.  Nothing outside the environment is written.
readonly COMPILE='
import compileall, importlib.util, py_compile, re, sys
import cv2, msgspec, numpy, rich.progress, rkdeploy.cli
if importlib.util.find_spec("av"): import av
for path in [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]:
    if path.startswith(sys.prefix) and path.endswith(".py"):
        py_compile.compile(path)
sys.exit(not compileall.compile_dir(rkdeploy.__path__[0], rx=re.compile("/rkdeploy/host/"), quiet=1))
'

build_program() { # next to its place, then renamed into it
  make_environment
  fill_environment
  compile_environment
  find "$NEW/bin" -type f -exec sed -i "s|$NEW|$PREFIX|g" {} +
  sed -i "s|$NEW|$PREFIX|g" "$NEW/pyvenv.cfg"
  echo "$FINGERPRINT" >"$NEW/fingerprint"
  write_manifest "$NEW/manifest" # complete before anything outside the prefix changes, so that it can be undone
  rm -rf "$OLD"
  if [ -e "$AT" ]; then mv -T "$AT" "$OLD"; fi
  mv -T "$NEW" "$AT"
  rm -rf "$OLD"
}

make_environment() {
  rm -rf "$NEW"
  if [ -n "$WHEELS" ]; then
    "$PYTHON" -m venv --prompt rkdeploy --without-pip "$NEW"
  else
    "$PYTHON" -m venv --prompt rkdeploy "$NEW"
  fi
}

fill_environment() { # one call of pip, which takes longer to start than to install
  local pip=("$NEW/bin/python" -m pip install)
  [ -z "$WHEELS" ] || pip=("$NEW/bin/python" "$PIP_WHEEL/pip" --isolated install --no-index --find-links "$WHEELS")
  pip+=(--quiet --disable-pip-version-check --no-cache-dir --root-user-action ignore --no-compile --no-deps)
  requirements >"$NEW/requirements.txt"
  "${pip[@]}" --requirement "$NEW/requirements.txt" "$PROGRAM" ||
    fail "pip could not install the packages; its message is above."
}

compile_environment() { # and so find out whether it can be imported
  "$NEW/bin/python" -c "$COMPILE" ||
    fail "What was installed cannot be imported; Python's message is above." \
      "$([ $WINDOW = no ] || echo 'apt-get install libgl1 libglib2.0-0, or leave out --window.')"
}
