"""The flags of the main command, as a person types them."""

import ast
import dataclasses
import json

import pytest
from helpers import commands, runs

from gcad_jax import main
from gcad_jax.cli import config_flags
from gcad_jax.config import files, serialization, validation
from gcad_jax.core.errors import UserError

CIRCLES = "--config=configs/circles.py"
FOLDER = "--config=configs/folder.py:small"

# How ml_collections loads a config file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@pytest.fixture
def parsed(monkeypatch):
    """Parses the flags as the command does, no more; returns the resolved config."""

    def parse(*arguments, cwd=runs.ROOT):
        given = []
        with monkeypatch.context() as patched:
            patched.chdir(cwd)
            patched.setattr(main, "main", given.append)
            code = commands.run_here("main", [*arguments, "--workdir=x"], monkeypatch)
        assert code == 0
        config = validation.resolve(given[0].config)
        return json.loads(json.dumps(serialization.as_dict(config)))

    return parse


@pytest.mark.parametrize("file", runs.CONFIGS, ids=lambda file: file.stem)
@pytest.mark.parametrize("preset", ["", ":small"])
def test_every_config_file_loads(file, preset):
    name = f"configs/{file.name}"
    config = files.load(f"{file}{preset}")
    assert dataclasses.is_dataclass(config)
    # Its header is the command that runs it.
    assert f"--config={name}" in ast.get_docstring(ast.parse(file.read_text()))


@pytest.mark.parametrize("file", runs.CONFIGS, ids=lambda file: file.stem)
def test_unknown_preset_names_the_nearest(file):
    with pytest.raises(UserError, match=r"'smal'.*Did you mean 'small'"):
        files.load(f"{file}:smal")


def test_the_config_files_of_the_package_serve_in_any_folder(tmp_path, parsed):
    config = parsed("--config=configs/loco.py:small", "--config.epochs=7", cwd=tmp_path)
    assert config["epochs"] == 7
    assert "MvtecLocoAd" in json.dumps(config)


def test_a_file_that_is_there_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "configs" / "circles.py"
    name = "configs/circles.py:small"
    assert files.locate(name) == f"{files.SHIPPED}/circles.py:small"
    own.parent.mkdir()
    assert files.locate("configs/loco.py") != "configs/loco.py"
    own.write_text("")
    assert files.locate(name) == name
    for elsewhere in ("circles.py", "mine/configs/circles.py", "configs/mine.py"):
        assert files.locate(elsewhere) == elsewhere


def test_overrides_that_users_rely_on(parsed):
    config = parsed(
        "--config=configs/loco.py:small",
        "--config.data.root=/some/where",
        "--config.data.categories=('juice_bottle',)",
        "--config.image_size=96",
        "--config.epochs=7",
        "--config.batch_size=3",
        "--config.seeds=(0,1)",
        "--config.method.g=64",
        "--config.write_maps",
    )
    assert config["data"]["root"] == "/some/where"
    assert config["data"]["categories"] == ["juice_bottle"]
    method = config["method"]
    for fields in (config, method):
        sizes = [fields[name] for name in ("image_size", "epochs", "batch_size")]
        assert sizes == [96, 7, 3]
    assert config["seeds"] == [0, 1]
    assert method["g"] == 64
    assert config["write_maps"] is True


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", [0]), ("3,", [3]), ("1,2", [1, 2]), ("(5,)", [5])]
)
def test_seeds_may_be_written_without_brackets(text, seeds, parsed):
    assert parsed(CIRCLES, f"--config.seeds={text}")["seeds"] == seeds


def test_values_may_follow_as_words(parsed):
    config = parsed("--config", "configs/circles.py", "--config.epochs", "7")
    assert config["epochs"] == 7


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        (["--config.image_size=96"], 96),
        (["--config.image_size=(64,96)"], [64, 96]),
        (["--config.image_size", "(64, 96)"], [64, 96]),
        (["--config.method.image_size=64,96", "--config.method.K=3"], [64, 96]),
    ],
)
def test_a_size_is_one_side_or_two(arguments, size, parsed):
    config = parsed("--config=configs/spade.py:small", *arguments)
    assert config["image_size"] == config["method"]["image_size"] == size
    assert config["method"]["K"] == (3 if "--config.method.K=3" in arguments else 20)


def test_fields_of_several_types_are_set_wherever_they_stand():
    outer = Outer()
    config_flags.set_field(outer, "size", "None")
    config_flags.set_field(outer, "inner.size", "(3, 4)")
    assert (outer.size, outer.inner.size) == (None, (3, 4))
    words = ["main", "--a=1", "--b", "2", "-b=3", "--c", "word"]
    assert config_flags._without(words, {"b"}) == ["main", "--a=1", "--c", "word"]


@dataclasses.dataclass
class Inner:
    size: int | tuple[int, int] = 1


@dataclasses.dataclass
class Outer:
    size: int | tuple[int, int] | None = 2
    inner: Inner = dataclasses.field(default_factory=Inner)


# One process each costs two seconds; the others are tried in this process below.
@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--config.epoch=3", ["--config.epoch is", "Did you mean '--config.epochs'"]),
        ("--config.epochs=abc", ["--config.epochs is 'abc'", "a whole number"]),
        ("--config.seeds=x", ["config.seeds", "whole numbers"]),
    ],
)
def test_mistakes_in_a_process(argument, words):
    done = runs.command([CIRCLES, argument, "--workdir=x"])
    assert done.returncode == 2
    assert done.stdout in ("", "config      configs/circles.py\n")
    said = runs.one_sentence(done.stderr)
    assert all(word in said for word in words), said


OF_CIRCLES = (
    ("--config.method.gg=3", "Did you mean '--config.method.g'"),
    ("-config.epoch=3", "Did you mean '--config.epochs'"),
    ("--config.data=3", "--config.data is unknown"),
    ("--wrkdir=x", "--wrkdir is unknown. Did you mean '--workdir'"),
    ("--config.write_maps=maybe", "'maybe'; it must be True or False"),
    ("--config.epochs=3.5", "'3.5'; it must be a whole number"),
    ("--config.epochs=", "''; it must be a whole number"),
    ("--config.epochs", "--config.epochs"),
    ("--config.method.width=wide", "'wide'; it must be a number"),
    ("--config.seeds=(0,1", "'(0,1'; it must be a tuple"),
    ("--config.image_size=(64,", "'(64,'; it must be a whole number, or several in"),
    ("--config.image_size=wide", 'such as "(256,512)"'),
    ("--config.image_size=", "--config.image_size is ''; it must be a whole number"),
    ("--config.image_size", "--config.image_size is ''; it must be a whole number"),
    (
        "--config.method.image_size=(64,96)",
        "'(64,96)'; it must be a single whole number, such as 64.",
    ),
    (
        "--config.image_size=64 --config.method.image_size=96",
        "contradict each other",
    ),
    (
        "--config.epochs=3 --config.method.epochs=4",
        "--config.epochs=3 and --config.method.epochs=4 contradict each other; both "
        "set the same value, so give one of them",
    ),
    ("--quite", "--quite is unknown. Did you mean '--quiet'"),
    ("--plans", "--plans is unknown. Did you mean '--plan'"),
    ("extra", "'extra' is not a flag"),
    ("--config.seeds=(0,) --config.seeds=(1,)", "--config.seeds is given twice"),
)
MISTAKES = (
    *((f"{CIRCLES} {arguments}", sentence) for arguments, sentence in OF_CIRCLES),
    (f"{FOLDER} --config.dataa.root=x", "Did you mean '--config.data.root'"),
    ("--config=configs/circle.py", "no file configs/circle.py. Did you mean 'configs/"),
    ("--config=nowhere/circle.py", "Did you mean 'configs/circles.py'"),
    ("--config=loco", "no file loco. Did you mean 'configs/loco.py'"),
    ("--config=configs/xyz.py", "no file configs/xyz.py. There are: configs/auto"),
    ("--config=configs/loco.py:smal", "Did you mean 'small'"),
    ("--config=", "--config is missing"),
    ("--config.epochs=3", "--config is missing"),
    ("", "--config is missing"),
    ("config=configs/circles.py", "write --config=configs/circles.py"),
)


@pytest.mark.parametrize(("arguments", "sentence"), MISTAKES)
def test_mistakes(arguments, sentence, refuse, monkeypatch):
    monkeypatch.chdir(runs.ROOT)
    assert sentence in refuse("main", *arguments.split(), "--workdir=x")


@pytest.mark.parametrize("workdir", [[], ["--workdir="]])
def test_workdir_must_be_given(workdir, refuse, monkeypatch):
    monkeypatch.chdir(runs.ROOT)
    assert "--workdir is missing" in refuse("main", CIRCLES, *workdir)


BROKEN = {
    "def get_config(preset=''):\n    return nothing\n": "NameError in line 2 of",
    "def get_config(\n": "SyntaxError in line 1 of",
    "import gcad_jax.nothing\n": "ModuleNotFoundError in line 1 of",
    "def get_config(preset=''):\n    return {}['a']\n": "KeyError in line 2 of",
    "def get_config(preset=''):\n    return 3\n": "returns 3; it must return a",
    "x = 3\n": "has no function 'get_config'",
}


@pytest.mark.parametrize(("text", "sentence"), BROKEN.items(), ids=BROKEN.values())
def test_errors_of_a_config_file(text, sentence, tmp_path, refuse):
    file = tmp_path / "mine.py"
    file.write_text(text)
    said = refuse("main", f"--config={file}", "--workdir=x")
    assert str(file) in said
    assert sentence in said


def test_help_lists_the_fields_of_a_config(capsys, refuse, monkeypatch):
    monkeypatch.chdir(runs.ROOT)
    assert commands.run_here("main", [CIRCLES, "--help"], monkeypatch) == 0
    text = capsys.readouterr().out
    assert "Exit codes:" in text
    fields = text.partition("Fields of configs/circles.py:")[2]
    for flag in ("seeds=(0,)", "data.num_train=", "method.learning_rate="):
        assert f"\n  --config.{flag}" in fields
    said = refuse("main", "--config=configs/circle.py", "--help")
    assert "--config=configs/circle.py: there is no file" in said
