# FFmpeg is no server, and comes with the system: it is used if it is there.
# shellcheck shell=bash

ffmpeg_install() {
  command -v ffmpeg >/dev/null || { echo "install it with apt-get install ffmpeg"; return 1; }
}

ffmpeg_start() { :; }

ffmpeg_env() { echo "export WA_TEST_FFMPEG='$(command -v ffmpeg)'"; }
