"""The commands: which flags and config files their help names, and their exit codes."""

import re

import pytest
from helpers import outside

HELP = outside.expected("help")
COMMANDS = ("main", "predict", "export", "evaluate", "convert", "merge")
# A mistyped flag of each command, and the nearest that there is.
MISTYPED = {
    "main": ("--workdr=a", "--workdir"),
    "predict": ("--outptu=a", "--output"),
    "export": ("--categroy=a", "--category"),
    "evaluate": ("--objct_name=a", "--object_name"),
    "convert": ("--inptu=a", "--input"),
    "merge": ("--prats=a", "--parts"),
}
# The first flag that is missed where none is given.
MISSING = {
    "main": "--config",
    "predict": "--workdir",
    "export": "--workdir",
    "evaluate": "--object_name",
    "convert": "--arch",
    "merge": "--parts",
}


def sentence(done):
    """What a command says of a mistake: one line, and exit code 2."""
    assert done.returncode == 2, done
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def named(text, pattern):
    return set(re.findall(pattern, text))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_flag_and_config_file(name):
    text = outside.succeeded(name, "--help")
    assert named(text, r"--[A-Za-z_][\w.]*") >= set(HELP[name]["flags"])
    assert named(text, r"configs/\w+\.py") >= set(HELP[name]["configs"])
    for code in ("0", "2", "130"):
        assert re.search(rf"\b{code}\b", text.partition("Exit codes")[2])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistyped_or_missing_flag_is_named_and_the_exit_code_is_2(name):
    given, nearest = MISTYPED[name]
    error = sentence(outside.command(name, given))
    assert given.partition("=")[0] in error
    assert f"'{nearest}'?" in error
    assert f"{MISSING[name]} is missing" in sentence(outside.command(name))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_its_version(name):
    import gcad_jax

    printed = outside.succeeded(name, "--version")
    assert printed == f"gcad_jax {gcad_jax.__version__}\n"


def test_the_package_lists_its_commands():
    text = outside.succeeded("")
    assert named(text, r"-m (gcad_jax\.\w+)") >= set(HELP["gcad_jax"]["commands"])
    assert outside.succeeded("", "--help") == text
    assert outside.succeeded("", "--version").startswith("gcad_jax ")
    assert "gcad_jax.predict" in sentence(outside.command("", "predct"))


@pytest.mark.long
def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path):
    nowhere, out = tmp_path / "nowhere", tmp_path / "out"
    images = outside.FILES / "images"
    commands = (
        ("predict", f"--workdir={nowhere}", f"--images={images}", f"--output={out}"),
        ("export", f"--workdir={nowhere}", f"--output={out}"),
        ("merge", f"--parts={nowhere / '*'}", f"--workdir={out}"),
        (
            "evaluate",
            "--object_name=nut",
            f"--dataset_base_dir={nowhere}",
            f"--anomaly_maps_dir={nowhere}",
            f"--output_dir={out}",
        ),
        ("convert", "--arch=resnet18", f"--input={nowhere}", f"--output={out}.npz"),
        ("main", f"--config={nowhere}.py", f"--workdir={out}"),
    )
    for name, *arguments in commands:
        assert str(nowhere) in sentence(outside.command(name, *arguments)), name
    assert list(tmp_path.iterdir()) == []
    # A file where a workdir should be.
    out.write_text("no folder")
    arguments = ("--config=configs/circles.py", f"--workdir={out}")
    assert str(out) in sentence(outside.command("main", *arguments))


def test_an_image_that_cannot_be_read_is_passed_over_with_exit_code_4(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/0.png").write_bytes(outside.IMAGES[0].read_bytes())
    (tmp_path / "images/1.png").write_text("no image")
    done = outside.command(
        "predict",
        f"--workdir={outside.FILES / 'detectors/variation_model.npz'}",
        f"--images={tmp_path / 'images'}",
        f"--output={tmp_path / 'out'}",
        *("--nomaps", "--nooverlays", "--fpr=0.1", "--batch_size=1", "--quiet"),
    )
    assert done.returncode == 4, done.stderr
    assert "images/1.png" in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "predict.json",
        "scores.csv",
    ]
