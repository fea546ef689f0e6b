"""python -m gcad_jax.merge --parts="RESULTS/*/seed_*" --workdir=MERGED

The tasks of a sweep, each a workdir with some categories and seeds, as one workdir.
"""

from absl import flags

from gcad_jax.cli.command import Command

COMMAND = Command(
    name="merge",
    summary="""
    Join the workdirs of a sweep, which has trained each category and seed by itself
    (launch/task.sh), to the workdir of one run with all of them.
    """,
    required={
        '--parts="RESULTS/*/seed_*"': """
        the workdirs, as a pattern in quotes; each may have several categories and
        seeds, and together they must be complete
        """,
        "--workdir=MERGED": """
        the new workdir. The command of the parts, with this workdir and all
        categories and seeds, then finds all finished and writes report.md and
        report.html. Checkpoints and maps stay in the parts.
        """,
    },
    stray="put the pattern of --parts in quotes",
)


def main(given: flags.FlagValues) -> None:
    """Merges the workdirs."""
    from gcad_jax.runs.merge import merge

    print(merge(given.parts, given.workdir))


if __name__ == "__main__":
    COMMAND.run(main)
