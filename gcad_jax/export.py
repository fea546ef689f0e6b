"""python -m gcad_jax.export --workdir=DIR --output=FILE

Makes of a trained detector one file that JAX runs without this package.
"""

from absl import flags

from gcad_jax.cli.command import DETECTOR_FLAGS, Command

COMMAND = Command(
    name="export",
    summary="""
    Make of a trained detector one file that JAX, or ONNX Runtime, runs without this
    package.
    """,
    required={
        "--workdir=DIR": """
        of a finished run, or a detector file in it
        (CATEGORY/detectors/seed_0.npz)
        """,
        "--output=FILE": """
        zoom, network, calibration and threshold in one program for CPU, CUDA and
        TPU; beside it FILE.json: its inputs, results, threshold, versions, parity
        """,
    },
    optional={
        **DETECTOR_FLAGS,
        "--format=onnx": """
        an ONNX file in place of JAX's (jax), for ONNX Runtime; python -m
        gcad_jax.predict --model=FILE.onnx takes it, too
        """,
        "--images=FOLDER": """
        its first 8 images are compared too; or a file, or a pattern in quotes
        """,
    },
    notes="""
    To use it (docs/export.md), with jax and flatbuffers installed:

      import jax, jax.export
      detect = jax.jit(jax.export.deserialize(open("FILE", "rb").read()).call)
      found = detect(images)    # uint8 (b, h, w, 3), any b, h and w
      found["score"], found["anomalous"], found["p_value"], found["anomaly_map"]

    Before it is written, what it says is compared with python -m gcad_jax.predict on
    the CPU; a difference above 1e-4 of the range of a map is an error.

    A jax up to 6 months newer or 3 weeks older than this one can load it; keep the
    detector file, from which it can be exported again.
    """,
    stray="put a pattern of --images in quotes",
    interrupted="stopped; {output} is not written.",
)


def main(given: flags.FlagValues) -> None:
    """Exports one detector."""
    from gcad_jax.inference.exported import export_file

    export_file(
        given.workdir,
        given.output,
        given.fpr,
        given.category,
        given.seed,
        given.images,
        given.format or "jax",
    )


if __name__ == "__main__":
    COMMAND.run(main)
