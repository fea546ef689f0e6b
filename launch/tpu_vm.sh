#!/usr/bin/env bash
# Runs a config on one Cloud TPU VM host; run it again after a preemption to continue.
#
#   launch/tpu_vm.sh [--dry-run] TPU_NAME ZONE CONFIG WORKDIR [--config.NAME=VALUE ...]
#
# The VM needs a checkout of this repository in ~/gcad_jax and the data on its disk.
# A pod of several hosts is not supported yet: the batch is shared by the chips of one
# host only.
set -euo pipefail

run=()
if [ "${1:-}" = "--dry-run" ]; then
  run=(echo)
  shift
fi
name=${1:?TPU name is missing}
zone=${2:?zone is missing}
config=${3:?config file is missing}
workdir=${4:?workdir is missing}
shift 4

command="cd ~/gcad_jax && python3 -m venv .venv && . .venv/bin/activate"
command+=" && pip install -q -e '.[tpu]'"
command+=" && python -m gcad_jax.main --config=$config --workdir=$workdir"
for override in "$@"; do
  command+=" $(printf '%q' "$override")"
done
"${run[@]}" gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=0 \
  --command="$command"
