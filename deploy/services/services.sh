#!/usr/bin/env bash
# Real backends for tests and for trying out, without containers: installed once into a cache folder outside the repository,
# run on free loopback ports with their data in a folder of their own.
#
#   services.sh up [service…]        starts them, and says how to reach them (make services-up)
#   services.sh down                 ends what `up` started, and removes its data (make services-down)
#   services.sh env                  prints the variables of what runs
#   services.sh with <command…>      runs a command beside fresh ones, which end with it; WA_SERVICES names them, and nothing
#                                    is run if there are none
#
# A service is a file <name>.sh here that defines <name>_install, <name>_start and <name>_env. One that this machine cannot
# have is left out with a note; with WA_REQUIRE_SERVICES=1 that is a failure, unless it sets <name>_optional. Tests that need one are ignored unless they are
# asked for (make test asks for those whose service runs), and have its name in theirs.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cache="${WA_SERVICES_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/wa-services}"
state="${WA_SERVICES_STATE:-$here/../../.services}"
all=(postgres s3 ffmpeg redis nats mongo)

note() { printf '%s\n' "services: $*" >&2; }

# Whether nobody listens there.
port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The first of that many free ports in a row; below those that systems give out by themselves, also with 10000 added.
free_ports() {
  local count="$1" base try port
  for try in $(seq 100); do
    base=$((16000 + RANDOM % 650 * 10))
    for port in $(seq "$base" $((base + count - 1))); do
      port_is_free "$port" && port_is_free $((port + 10000)) || continue 2
    done
    echo "$base"
    return
  done
  note "no free ports found"
  return 1
}

# A process and all that it started are ended by its id, which start_background wrote down.
start_background() {
  local folder="$1"
  shift
  setsid "$@" >"$folder/log" 2>&1 </dev/null &
  echo $! >"$folder/pid"
}

end() {
  local folder="$1" pid
  if [ -f "$folder/pid" ]; then
    pid="$(cat "$folder/pid")"
    kill -- "-$pid" 2>/dev/null || true
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 -- "-$pid" 2>/dev/null || true
  fi
  if [ -f "$folder/elsewhere" ]; then rm -rf "$(cat "$folder/elsewhere")"; fi
  rm -rf "$folder"
}

# Whether it was started, and its process, if it has one, lives.
is_running() {
  [ -f "$state/$1/up" ] && { [ ! -f "$state/$1/pid" ] || kill -0 "$(cat "$state/$1/pid")" 2>/dev/null; }
}

up() {
  local service optional missing=0
  mkdir -p "$state"
  mkdir -p "$cache" 2>/dev/null || true
  for service in "$@"; do
    # shellcheck source=/dev/null
    source "$here/$service.sh"
    is_running "$service" && continue
    end "$state/$service"
    mkdir -p "$state/$service/data"
    if ! "${service}_install" "$cache/$service" >"$state/$service/install.log" 2>&1; then
      note "$service cannot be installed here: $(tail -n 1 "$state/$service/install.log")"
      optional="${service}_optional"
      [ -n "${!optional:-}" ] || missing=1
      end "$state/$service"
    elif ! "${service}_start" "$cache/$service" "$state/$service"; then
      note "$service does not start: $(tail -n 3 "$state/$service/log" 2>/dev/null)"
      missing=1
      end "$state/$service"
    else
      touch "$state/$service/up"
    fi
  done
  if [ "$missing" = 1 ] && [ "${WA_REQUIRE_SERVICES:-0}" = 1 ]; then
    note "they are required here (WA_REQUIRE_SERVICES=1)"
    return 1
  fi
}

down() {
  local folder
  for folder in "$state"/*/; do
    [ -d "$folder" ] && end "${folder%/}"
  done
  rmdir "$state" 2>/dev/null || true
}

print_env() {
  local service running=()
  for service in "${all[@]}"; do
    # shellcheck source=/dev/null
    source "$here/$service.sh"
    if is_running "$service"; then
      "${service}_env" "$state/$service"
      running+=("$service")
    fi
  done
  echo "export WA_SERVICES='${running[*]}'"
}

case "${1:-}" in
  up)
    shift
    [ $# -gt 0 ] || set -- "${all[@]}"
    up "$@"
    print_env
    ;;
  down) down ;;
  env) print_env ;;
  with)
    shift
    state="$(mktemp -d)"
    trap down EXIT
    up "${all[@]}"
    eval "$(print_env)"
    if [ -z "$WA_SERVICES" ]; then
      note "none runs: what needs them stays ignored"
    else
      "$@"
    fi
    ;;
  *)
    sed -n '2,/^set/p' "${BASH_SOURCE[0]}" | sed -n 's/^# \{0,1\}//p'
    exit 2
    ;;
esac
