# shellcheck shell=bash
# The service, its user and its groups.
# Part of install.sh, which reads it.

service_manager_runs() { [ -z "$ROOT" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null; }

systemd_version() { systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p'; }

service_enabled() { [ -L "$ROOT/etc/systemd/system/multi-user.target.wants/rkdeploy.service" ]; }

reload_daemons() {
  if service_manager_runs; then systemctl daemon-reload; fi
  if [ -z "$ROOT" ] && [ -S /run/udev/control ]; then
    udevadm control --reload
    udevadm trigger --action=change --subsystem-match=drm --subsystem-match=misc --subsystem-match=dma_heap
  fi
}

stop_service() {
  if service_manager_runs; then systemctl --quiet stop rkdeploy.service || true; fi
}

plan_group() {
  [ -z "$ROOT" ] || return 0
  if grep -q "^$1:" /etc/group; then return 0; fi
  plan "make the group \"$1\"" groupadd --system "$1"
  note group "$1"
}

plan_user() {
  [ -z "$ROOT" ] || return 0
  local group
  for group in video render; do plan_group $group; done # the unit names them; a missing one would stop it
  if id -u "$USER_NAME" >/dev/null 2>&1; then return 0; fi
  plan_group "$USER_NAME" # by itself: one that is there, with members, from before --uninstall is taken as it is
  plan "make the system user \"$USER_NAME\"" useradd --system --gid "$USER_NAME" --no-create-home --no-log-init \
    --home-dir "$HOME_DIR" --shell /usr/sbin/nologin "$USER_NAME"
  note user "$USER_NAME"
}

plan_service() {
  if [ "$FRESH" = no ] && [ ${#PLAN[@]} -gt 0 ] && service_manager_runs && systemctl --quiet is-active rkdeploy.service; then
    plan "restart rkdeploy.service, which is running" systemctl restart rkdeploy.service
  fi
  [ $ENABLE = yes ] || return 0
  if ! service_enabled; then
    plan "start rkdeploy.service on every boot" systemctl ${ROOT:+--root="$ROOT"} --quiet enable rkdeploy.service
    note enabled rkdeploy.service
  fi
  if service_manager_runs && ! systemctl --quiet is-active rkdeploy.service; then
    plan "start rkdeploy.service now" systemctl start rkdeploy.service
  fi
}
