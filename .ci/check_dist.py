"""python .ci/check_dist.py DIST: whether the sdist and the wheel in it are whole.

The wheel has the package, its weights and the config files, and nothing else; the sdist
all that a test reads.
"""

import pathlib
import sys
import tarfile
import zipfile

ROOT = pathlib.Path(__file__).parents[1]
FILES = ("LICENSE", "README.md", "CHANGELOG.md", "setup.py", "pyproject.toml")
FOLDERS = (".ci", "configs", "docs", "gcad_jax", "launch", "tests")
# What the tools leave behind in a checkout, and none of it is a source.
PASSED_OVER = {"__pycache__", "_build"}


def tree(*folders: str) -> set[str]:
    """The files of the checkout in these folders."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    return {
        path.relative_to(ROOT).as_posix()
        for path in found
        if path.is_file() and not PASSED_OVER & set(path.parts)
    }


def check(what: str, missing: set[str], strange: set[str]) -> None:
    """Ends the program where anything is missing or should not be there."""
    if missing or strange:
        sys.exit(f"{what}: missing {sorted(missing)}, too much {sorted(strange)}")


def main(dist: pathlib.Path) -> None:
    """Compares both with the checkout."""
    [wheel], [sdist] = dist.glob("*.whl"), dist.glob("*.tar.gz")
    in_wheel = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    wanted = tree("gcad_jax") | {f"gcad_jax/{name}" for name in tree("configs")}
    check(wheel.name, wanted - in_wheel, in_wheel - wanted)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    check(sdist.name, {*FILES, *tree(*FOLDERS)} - names, set())
    print(f"{wheel.name} and {sdist.name} are whole")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
