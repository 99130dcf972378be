# A server that speaks MongoDB's protocol, from PyPI: SecantusDB on WiredTiger. It is not MongoDB; what is tried with it is the
# driver, the documents and the indexes.
# shellcheck shell=bash

MONGO_VERSION=0.7.0b3

mongo_install() {
  local folder="$1"
  [ -x "$folder/bin/secantusd-py" ] && return
  python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check "SecantusDB==$MONGO_VERSION"
}

mongo_start() {
  local folder="$1" state="$2" port
  port="$(free_ports 1)"
  echo "$port" >"$state/port"
  # Without the last option a kill loses what was journaled.
  start_background "$state" "$folder/bin/secantusd-py" --host 127.0.0.1 --port "$port" --storage-path "$state/data" --log-level WARNING --sync-on-commit
  for _ in $(seq 150); do
    if "$folder/bin/python" -c "
import sys, pymongo
pymongo.MongoClient('127.0.0.1', int(sys.argv[1]), directConnection=True, serverSelectionTimeoutMS=500).admin.command('ping')" "$port" 2>/dev/null; then return; fi
    kill -0 "$(cat "$state/pid")" 2>/dev/null || return 1
    sleep 0.2
  done
  return 1
}

mongo_env() {
  echo "export WA_TEST_MONGO='mongodb://127.0.0.1:$(cat "$1/port")/?replicaSet=secantus'"
}
