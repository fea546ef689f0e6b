#!/usr/bin/env bash
# Measures this program on one accelerator, for docs/results: about ten minutes on an
# H100, if an update compiles in the 53 s that were once measured there.
#
#   launch/measure.sh [--dry-run] OUT
#
# OUT gets evaluator.txt (the sPRO pass on the device) and throughput/ with a JSON file
# and a table: training, what the loop adds to its calls, inference, latency. Rows are
# written as they are measured; the same command again goes on where it stopped. Nothing
# is downloaded. --dry-run prints the commands.
set -euo pipefail
cd "$(dirname "$0")/.."

dry_run=false
if [ "${1:-}" = "--dry-run" ]; then
  dry_run=true
  shift
fi
out=${1:?folder for what is measured is missing}

evaluator=(python -m gcad_jax.evaluation.benchmark --device)
# What costs a compilation and is least asked for is left out.
throughput=(
  python -m gcad_jax.main --config=configs/study_throughput.py
  "--workdir=$out/throughput" "--config.batch_sizes=(1,32)"
  "--config.steps_per_call=()" "--config.seed_counts=()"
)
if "$dry_run"; then
  printf '%q ' "${evaluator[@]}" && echo
  printf '%q ' "${throughput[@]}" && echo
  exit
fi
mkdir -p "$out"
if [ ! -s "$out/evaluator.txt" ]; then
  "${evaluator[@]}" | tee "$out/evaluator.part"
  mv "$out/evaluator.part" "$out/evaluator.txt"
fi
exec "${throughput[@]}"
