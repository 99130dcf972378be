# FFmpeg is no server, and comes with the system: it is used if it is there.
# shellcheck shell=bash

# Nothing but thumbnails of videos needs it, and it is no failure if it is not there.
export ffmpeg_optional=1

ffmpeg_install() {
  command -v ffmpeg >/dev/null || { echo "install it with apt-get install ffmpeg"; return 1; }
}

ffmpeg_start() { :; }

ffmpeg_env() { echo "export WA_TEST_FFMPEG='$(command -v ffmpeg)'"; }
