#!/usr/bin/env bash
# On one host of a TPU VM, in ~/gcad_jax: starts a command, or shows the one that runs.
#
#   launch/tpu_host.sh python -m gcad_jax.main ...       launch/tpu_vm.sh calls it
#   launch/tpu_host.sh --stop                            SIGTERM: it saves and ends
#
# The command does not end with the connection that started it. .run/log has what it
# prints, .run/status its exit code. The first call installs gcad_jax into .venv, with a
# Python of its own where the image's is older than 3.11.
set -euo pipefail
mkdir -p .run

running() {
  [ -f .run/pid ] && kill -0 "$(cat .run/pid)" 2>/dev/null
}

if [ "${1:-}" = "--stop" ]; then
  # The group: the command and the shell that waits for it.
  if running; then
    kill -TERM -- "-$(cat .run/pid)"
  fi
  exit
fi
if ! running; then
  if [ ! -x .venv/bin/python ]; then
    python3 -m pip install --quiet --user uv
    python3 -m uv venv --quiet --python ">=3.11" .venv
    python3 -m uv pip install --quiet --python .venv -e ".[tpu,gcs]"
  fi
  rm -f .run/status
  : >.run/log  # there before tail looks, however late the command starts
  # shellcheck disable=SC2016
  PATH=$PWD/.venv/bin:$PATH setsid bash -c '
    trap : TERM  # outlives the command, to write how it ended
    "$@" || status=$?
    echo "${status:-0}" >.run/status
  ' bash "$@" >.run/log 2>&1 </dev/null &
  echo $! >.run/pid
fi
tail --lines=+1 --follow --pid="$(cat .run/pid)" .run/log
exit "$(cat .run/status 2>/dev/null || echo 137)"  # no status: SIGKILL
