#!/usr/bin/env bash
# Installs rkdeploy on a Rockchip board (Debian or Ubuntu, arm64): checks, says what it will do, then does it.
# See README.md next to this file.  A second run with the same input changes nothing.
#
# Here is the order; the folder "install" has the steps:
#   messages.sh  options.sh  plan.sh (the plan, the manifest, undoing)  places.sh (who may write where)
#   checks.sh  python.sh (interpreter and wheels)  program.sh  files.sh  service.sh  removal.sh
set -euo pipefail
umask 022
export LC_ALL=C PYTHONDONTWRITEBYTECODE=1

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
readonly NEEDED_KB=500000            # 150 MB installed, twice during an update, and room for pip
readonly HOME_DIR=/var/lib/rkdeploy  # rkdeploy/push and rkdeploy.service know it too
readonly UNIT=/etc/systemd/system/rkdeploy.service
readonly CONF=/etc/rkdeploy/run.conf
readonly LINK=/usr/local/bin/rkdeploy
readonly RULES=/etc/udev/rules.d/99-rkdeploy-npu.rules
readonly BACKOFF=/etc/systemd/system/rkdeploy.service.d/50-backoff.conf

if [ ! -d "$HERE/install" ]; then
  echo "error: \"$HERE/install\" is missing, which has the steps of this script." >&2
  echo "  Copy the whole folder, not install.sh alone." >&2
  exit 1
fi
# shellcheck source=board/install/messages.sh
. "$HERE/install/messages.sh"
# shellcheck source=board/install/options.sh
. "$HERE/install/options.sh"
# shellcheck source=board/install/plan.sh
. "$HERE/install/plan.sh"
# shellcheck source=board/install/places.sh
. "$HERE/install/places.sh"
# shellcheck source=board/install/checks.sh
. "$HERE/install/checks.sh"
# shellcheck source=board/install/python.sh
. "$HERE/install/python.sh"
# shellcheck source=board/install/program.sh
. "$HERE/install/program.sh"
# shellcheck source=board/install/files.sh
. "$HERE/install/files.sh"
# shellcheck source=board/install/service.sh
. "$HERE/install/service.sh"
# shellcheck source=board/install/removal.sh
. "$HERE/install/removal.sh"

install_all() {
  check_all
  read_manifest
  plan_all
  [ $DRY_RUN = yes ] || take_lock
  carry_out_or_undo
  if [ $DRY_RUN = no ] && [ ${#PLAN[@]} -gt 0 ]; then say_done; fi
}

check_all() {
  check_machine
  need_root
  if grep -qs '^opencv-python==' "$AT/requirements.txt"; then WINDOW=yes; fi
  if grep -qs '^pyav-rkmpp==' "$AT/requirements.txt"; then VIDEO=yes; fi
  check_wheels
  choose_python
  check_python
  check_places
  check_prefix
  check_user
  check_npu
}

plan_all() {
  FRESH=yes RELOAD=no CHANGING=no
  [ ! -f "$MANIFEST" ] || FRESH=no
  local before="${ENTRIES[*]}"

  plan_folder "$(parent_of "$PREFIX")"
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
  plan_link
  if [ $RELOAD = yes ]; then plan "let systemd and udev read their files again" reload_daemons; fi
  plan_service
  if [ $FRESH = no ] && [ "${ENTRIES[*]}" != "$before" ]; then
    ACTIONS=("save_manifest" "${ACTIONS[@]}") # known before it is there: nothing is ever left unlisted
  fi
}

say_done() {
  echo "Done. $("$AT/bin/python" -m rkdeploy --version) is in $PREFIX."
  echo "To push bundles as another user than root: usermod -aG $GROUP_NAME THE_USER"
  if [ $VIDEO = no ] && [ -e "$ROOT/dev/mpp_service" ]; then
    echo "This board has a video decoder, which is not used: install.sh --video adds pyav-rkmpp (60 MB)."
  fi
  if [ $ENABLE = no ] && ! service_enabled; then
    echo "The service is not enabled. Set its arguments in $CONF, then: systemctl enable --now rkdeploy"
  fi
}

uninstall_all() {
  need_root
  check_places
  [ -f "$MANIFEST" ] || fail "There is no installation in \"$AT\"." "Name its place with --prefix, or --root."
  read_manifest
  plan_removal
  [ $DRY_RUN = yes ] || take_lock
  carry_out
  if [ $DRY_RUN = no ]; then echo "rkdeploy is removed."; fi
}

read_options "$@"
check_options
settle_paths
if [ $UNINSTALL = yes ]; then uninstall_all; else install_all; fi
