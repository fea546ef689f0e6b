#!/usr/bin/env bash
# Runs a config on all hosts of a Cloud TPU VM, be it one host or the slice of a pod.
#
#   launch/tpu_vm.sh [--dry-run] TPU_NAME ZONE CONFIG WORKDIR [--config.NAME=VALUE ...]
#
# Every host needs this checkout in ~/gcad_jax and sees the data and WORKDIR under the
# same path (gs:// or a shared file system); docs/scale.md shows how they get there. The
# hosts find each other by themselves. What they print is shown here.
#
# The same command again continues, whatever stopped the last one:
# - the connection was lost: the run goes on without it, and is shown again;
# - the run was stopped (SIGTERM saves; after SIGKILL the last minutes are repeated): it
#   continues from its checkpoint;
# - a Spot TPU was taken back: create it anew (a queued resource waits for capacity),
#   copy the checkout there, then the same command.
# --dry-run prints the command instead, for a shell.
set -euo pipefail

dry_run=false
if [ "${1:-}" = "--dry-run" ]; then
  dry_run=true
  shift
fi
name=${1:?TPU name is missing}
zone=${2:?zone is missing}
config=${3:?config file is missing}
workdir=${4:?workdir is missing}
shift 4

run=(python -m gcad_jax.main "--config=$config" "--workdir=$workdir" "$@")
printf -v quoted ' %q' "${run[@]}"
command=(
  gcloud compute tpus tpu-vm ssh "$name" "--zone=$zone" --worker=all
  "--command=cd ~/gcad_jax && launch/tpu_host.sh$quoted"
)
if "$dry_run"; then
  printf '%q ' "${command[@]}" && echo
else
  exec "${command[@]}"
fi
