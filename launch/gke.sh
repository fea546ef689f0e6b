#!/usr/bin/env bash
# Starts a run on Kubernetes (GKE): one command over several hosts, or a sweep.
#
#   launch/gke.sh [--dry-run] NAME IMAGE CONFIG WORKDIR [--config.NAME=VALUE ...]
#   launch/gke.sh [--dry-run] --sweep NAME IMAGE CONFIG RESULTS [...]
#
# IMAGE holds gcad_jax (launch/Dockerfile); WORKDIR, RESULTS and the data must be seen
# by all pods: gs:// paths. --dry-run prints the manifest. Without --sweep it is a
# JobSet (gke_jobset.yaml), with it an indexed Job of a pod for each category and seed
# (gke_sweep.yaml, task.sh). By environment variables:
#
#   ACCELERATOR, TOPOLOGY  the nodes: tpu-v5-lite-podslice and 4x4, of a sweep 1x1; with
#                          TOPOLOGY= a GPU such as nvidia-h100-80gb
#   CHIPS                  chips or GPUs of a pod (4, of a sweep 1)
#   HOSTS, SLICES          hosts of a slice (4), slices (1); not of a sweep
#   MAX_RESTARTS           after crashes (3); a machine that is taken back is free
#   GRACE_SECONDS          to save after SIGTERM (300)
#   SERVICE_ACCOUNT        that may read and write the bucket (default)
#   PARALLELISM            pods of a sweep at once (all)
#   CATEGORIES, SEEDS      of a sweep, as in task.sh
set -euo pipefail
cd "$(dirname "$0")/.."

dry_run=false sweep=false
while [[ "${1:-}" == --* ]]; do
  case "$1" in
    --dry-run) dry_run=true ;;
    --sweep) sweep=true ;;
    *) echo "error: $1 is unknown; see the header of $0" >&2 && exit 2 ;;
  esac
  shift
done
name=${1:?name is missing}
image=${2:?image is missing}
config=${3:?config file is missing}
workdir=${4:?workdir is missing}
shift 4

accelerator=${ACCELERATOR:-tpu-v5-lite-podslice}
topology=4x4 chips=4
if "$sweep"; then
  topology=1x1 chips=1
fi
topology=${TOPOLOGY-$topology} chips=${CHIPS:-$chips}
hosts=${HOSTS:-4} slices=${SLICES:-1}
if [ -n "$topology" ]; then
  selector="cloud.google.com/gke-tpu-accelerator: $accelerator"
  selector+=", cloud.google.com/gke-tpu-topology: $topology"
  resource=google.com/tpu
  # Each slice on a node pool of its own; the hosts find each other by themselves.
  annotations="alpha.jobset.sigs.k8s.io/exclusive-topology:"
  annotations+=" cloud.google.com/gke-nodepool"
  join=()
else
  selector="cloud.google.com/gke-accelerator: $accelerator"
  resource=nvidia.com/gpu
  annotations="" slices=1
  # The first host by the name that JobSet gives it; Kubernetes fills in PROCESS_ID.
  join=(
    "--coordinator=$name-slice-0-0.$name:8476" "--num_processes=$hosts"
    "--process_id=\$(PROCESS_ID)"
  )
fi
if "$sweep"; then
  template=launch/gke_sweep.yaml
  command=(launch/task.sh "$config" "$workdir" "$@")
else
  template=launch/gke_jobset.yaml
  command=(
    python -m gcad_jax.main "--config=$config" "--workdir=$workdir" "${join[@]}" "$@"
  )
fi

quoted() { # a list as YAML and JSON write it
  local word list=""
  for word; do
    word=${word//\\/\\\\}
    list+=", \"${word//\"/\\\"}\""
  done
  echo "[${list:2}]"
}

tasks=$(launch/task.sh --count)
declare -A values=(
  [NAME]=$name [IMAGE]=$image [COMMAND]=$(quoted "${command[@]}")
  [NODE_SELECTOR]=$selector [RESOURCE]=$resource [ANNOTATIONS]=$annotations
  [CHIPS]=$chips [HOSTS]=$hosts [SLICES]=$slices
  [MAX_RESTARTS]=${MAX_RESTARTS:-3} [GRACE_SECONDS]=${GRACE_SECONDS:-300}
  [SERVICE_ACCOUNT]=${SERVICE_ACCOUNT:-default}
  [TASKS]=$tasks [PARALLELISM]=${PARALLELISM:-$tasks}
  [CATEGORIES]=${CATEGORIES:-} [SEEDS]=${SEEDS:-}
)
# Without the comments, which name the words that are filled in.
manifest=$(grep -v '^ *#' "$template")
for key in "${!values[@]}"; do
  manifest=${manifest//"\${$key}"/"${values[$key]}"}
done
if "$dry_run"; then
  echo "$manifest"
else
  kubectl apply --filename=- <<<"$manifest"
fi
