#!/usr/bin/env bash
# Measures this program on one accelerator, for docs/results: most of the time is
# compiling (docs/results/throughput.md).
#
#   launch/measure.sh [--dry-run] OUT
#
# OUT gets first_update.txt (seconds of compiling an update and of its first call, with
# the options that the program sets on a GPU, without them, and with programs kept),
# evaluator.txt (the sPRO pass on the device), predict.txt (its speed against the bare
# program) and throughput/ with a JSON file and a table: training, what the loop adds to
# its calls, inference, latency. Rows are written as they are measured; the same command
# again goes on where it stopped. What was compiled stays in compiled/, so seconds of
# compiling are first ones only where that was empty (those of first_update.txt always
# are). Nothing is downloaded. --dry-run prints the commands.
set -euo pipefail
cd "$(dirname "$0")/.."

dry_run=false
if [ "${1:-}" = "--dry-run" ]; then
  dry_run=true
  shift
fi
out=${1:?folder for what is measured is missing}

export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$out/compiled}"

first_update=(python -m gcad_jax.benchmarks.first_update)
evaluator=(python -m gcad_jax.benchmarks.evaluate --device)
predict=(python -m gcad_jax.benchmarks.predict --images=640)
# What costs a compilation and is least asked for is left out.
throughput=(
  python -m gcad_jax.main --config=configs/study_throughput.py
  "--workdir=$out/throughput" "--config.batch_sizes=(1,32)"
  "--config.steps_per_call=()" "--config.seed_counts=()"
)
if "$dry_run"; then
  printf 'export %q\n' "JAX_COMPILATION_CACHE_DIR=$JAX_COMPILATION_CACHE_DIR"
  printf '%q ' "${first_update[@]}" && echo
  printf '%q ' "${evaluator[@]}" && echo
  printf '%q ' "${throughput[@]}" && echo
  printf '%q ' "${predict[@]}" && echo
  exit
fi
mkdir -p "$out"
if [ ! -s "$out/first_update.txt" ]; then
  "${first_update[@]}" | tee "$out/first_update.part"
  mv "$out/first_update.part" "$out/first_update.txt"
fi
if [ ! -s "$out/evaluator.txt" ]; then
  "${evaluator[@]}" | tee "$out/evaluator.part"
  mv "$out/evaluator.part" "$out/evaluator.txt"
fi
"${throughput[@]}"
if [ ! -s "$out/predict.txt" ]; then
  "${predict[@]}" | tee "$out/predict.part"
  mv "$out/predict.part" "$out/predict.txt"
fi
