#!/usr/bin/env bash
# One expects: a convolution needs no more time and memory without padding than with a row of it.
# What happens: on CPU jaxlib 0.10.2 needs 65 times the output (all windows) where there is no
# padding, twelve times what a row of it needs, and four times as long; `memory_analysis` says 0.
# It matters here, as E_loc had no padding anywhere: models/layers/convolution.py adds one row.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet jax==0.10.2 jaxlib==0.10.2
cat > program.py <<'PYTHON'
import resource
import sys
import time

import jax
import jax.numpy as jnp

below = int(sys.argv[1])  # rows of padding, and what they give is cut off
images, kernel = jnp.ones((16, 67, 67, 256)), jnp.ones((4, 4, 256, 128))


def convolve(images, kernel):
    numbers = ("NHWC", "HWIO", "NHWC")
    padding = ((0, below), (0, 0))
    y = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), padding, dimension_numbers=numbers
    )
    return y[:, :64]


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


program = jax.jit(convolve).lower(images, kernel).compile()
before = peak()
program(images, kernel).block_until_ready()
grown, seconds = peak() - before, []
for _ in range(3):
    start = time.perf_counter()
    program(images, kernel).block_until_ready()
    seconds.append(time.perf_counter() - start)
said = program.memory_analysis().temp_size_in_bytes >> 20
print(f"jax {jax.__version__}, {below} rows of padding: {min(seconds):.2f} s,", end=" ")
print(f"{said} MiB of working memory said, process grows by {grown} MiB, output 32 MiB")
print(grown, file=open(f"grown{below}", "w"))
PYTHON
export JAX_PLATFORMS=cpu
venv/bin/python program.py 0
venv/bin/python program.py 1
[ "$(cat grown0)" -gt "$((5 * $(cat grown1)))" ] || {
  echo "the memory no longer differs: this behavior has changed"
  exit 1
}
