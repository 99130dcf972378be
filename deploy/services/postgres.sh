# PostgreSQL, as the system's package brings it. The server runs as nobody where this runs as root, which it refuses to be.
# shellcheck shell=bash

# The folder of its programs; Debian keeps them out of the path.
postgres_programs() {
  local found
  if found="$(command -v initdb)"; then
    dirname "$(readlink -f "$found")"
  else
    find /usr/lib/postgresql -maxdepth 2 -name bin -type d 2>/dev/null | sort -V | tail -n 1
  fi
}

postgres_install() {
  [ -n "$(postgres_programs)" ] && return
  if [ "$(id -u)" = 0 ]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql && return
  fi
  echo "install it with apt-get install postgresql"
  return 1
}

# Who may run the server: what goes before its programs.
postgres_as() {
  if [ "$(id -u)" = 0 ]; then echo "setpriv --reuid=nobody --regid=nogroup --clear-groups"; fi
}

postgres_start() {
  local programs state="$2" data port as
  programs="$(postgres_programs)"
  port="$(free_ports 1)"
  echo "$port" >"$state/port"
  read -ra as <<<"$(postgres_as)"
  data="$state/data"
  # Where it runs as somebody else, its data lies where they may go; services.sh removes it with the rest.
  if [ "$(id -u)" = 0 ]; then
    data="$(mktemp -d /tmp/wa-postgres.XXXXXX)"
    echo "$data" >"$state/elsewhere"
    chown nobody:nogroup "$data"
  fi
  (cd "$data" && ${as[@]+"${as[@]}"} "$programs/initdb" -A trust -U wa -E UTF8 --no-locale -D "$data/db") >"$state/log" 2>&1 || return 1
  # Kept, so that a test can kill the server and start it again.
  echo "cd '$data' && exec ${as[*]-} '$programs/postgres' -D '$data/db' -p $port -k '$data' -c listen_addresses=127.0.0.1 -c max_connections=400" >"$state/command"
  start_background "$state" bash "$state/command"
  for _ in $(seq 150); do
    if "$programs/pg_isready" -q -h 127.0.0.1 -p "$port" -U wa; then return; fi
    kill -0 "$(cat "$state/pid")" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

postgres_env() {
  local port
  port="$(cat "$1/port")"
  echo "export WA_TEST_POSTGRES='postgres://wa@127.0.0.1:$port/postgres'"
}
