#!/usr/bin/env bash
# One task of a sweep over categories and seeds, by the index that the cluster gives it.
#
#   launch/task.sh [--dry-run] CONFIG RESULTS [--config.NAME=VALUE ...]
#   launch/task.sh --count                         how many tasks there are
#
# Task i trains category i / S with seed i % S, S the number of seeds, in the workdir
# RESULTS/CATEGORY/seed_SEED. CATEGORIES and SEEDS (words with blanks between) choose
# others than those of MVTec LOCO AD and 0 to 4. launch/slurm.sbatch and
# launch/gke_sweep.yaml call it; --dry-run without an index prints every task.
# `python -m gcad_jax.merge` joins what the tasks leave.
set -euo pipefail

loco="breakfast_box juice_bottle pushpins screw_bag splicing_connectors"
read -ra categories <<<"${CATEGORIES:-$loco}"
read -ra seeds <<<"${SEEDS:-0 1 2 3 4}"
count=$((${#categories[@]} * ${#seeds[@]}))

dry_run=false
case "${1:-}" in
  --count)
    echo "$count"
    exit 0
    ;;
  --dry-run)
    dry_run=true
    shift
    ;;
esac
config=${1:?config file is missing}
results=${2:?folder for the results is missing}
shift 2

index=${SLURM_ARRAY_TASK_ID:-${JOB_COMPLETION_INDEX:-}}
indices=("$index")
if [ -z "$index" ]; then
  "$dry_run" || { echo "error: no index; see the header of $0" >&2 && exit 2; }
  mapfile -t indices < <(seq 0 $((count - 1)))
fi
for index in "${indices[@]}"; do
  if ((index >= count)); then
    echo "error: there is no task $index; there are 0 to $((count - 1))" >&2
    exit 2
  fi
  category=${categories[index / ${#seeds[@]}]}
  seed=${seeds[index % ${#seeds[@]}]}
  command=(
    python -m gcad_jax.main "--config=$config"
    "--workdir=$results/$category/seed_$seed"
    "--config.data.categories=('$category',)" "--config.seeds=($seed,)"
    --num_processes=1 "$@"
  )
  # Instead of this shell, so that the cluster's SIGTERM reaches it.
  "$dry_run" || exec "${command[@]}"
  printf '%q ' "${command[@]}" && echo
done
