# Redis 7.0 from Debian's packages, unpacked into the cache folder, or the one that is installed. Nothing of the system's is
# started or changed.
# shellcheck shell=bash

# Debian's program and the libraries that a bare system may lack.
REDIS_PACKAGES=(redis-server redis-tools libatomic1 libjemalloc2 liblzf1)

redis_install() {
  local folder="$1"
  [ -x "$folder/redis-server" ] && return
  mkdir -p "$folder/packages"
  if command -v redis-server >/dev/null; then
    ln -sf "$(command -v redis-server)" "$folder/redis-server"
    return
  fi
  # Without lists of packages nothing can be downloaded; whoever may not renew them mostly has some.
  apt-get update -qq >/dev/null 2>&1 || true
  (cd "$folder/packages" && apt-get download -qq "${REDIS_PACKAGES[@]}") || return 1
  local package
  for package in "$folder"/packages/*.deb; do
    dpkg -x "$package" "$folder/root" || return 1
  done
  rm -rf "$folder/packages"
  cat >"$folder/redis-server.new" <<'PROGRAM'
#!/bin/sh
root="$(dirname "$(readlink -f "$0")")/root"
LD_LIBRARY_PATH="$(echo "$root"/usr/lib/*-linux-gnu*)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH
exec "$root/usr/bin/redis-server" "$@"
PROGRAM
  chmod +x "$folder/redis-server.new"
  "$folder/redis-server.new" --version && mv "$folder/redis-server.new" "$folder/redis-server"
}

redis_start() {
  local folder="$1" state="$2" port
  port="$(free_ports 1)"
  echo "$port" >"$state/port"
  echo "$folder/redis-server" >"$state/program"
  start_background "$state" "$folder/redis-server" --bind 127.0.0.1 --port "$port" --dir "$state/data" --appendonly yes --save ''
  for _ in $(seq 100); do
    if printf 'PING\r\n' | timeout 2 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port && cat >&3 && head -c 5 <&3" 2>/dev/null | grep -q PONG; then return; fi
    kill -0 "$(cat "$state/pid")" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

# The program is named too: tests that stop, kill and lose a server start one of their own.
redis_env() {
  echo "export WA_TEST_REDIS='redis://127.0.0.1:$(cat "$1/port")'"
  echo "export WA_TEST_REDIS_SERVER='$(cat "$1/program")'"
}
