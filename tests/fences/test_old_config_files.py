"""Config files that somebody copied from version 0.1.0 load with its import paths."""

from helpers import outside

# What the files of configs/ imported there, and what they called of it.
HEADERS = {
    "methods": """
from gcad_jax import presets
from gcad_jax.config import Experiment
from gcad_jax.methods.vae import VAE


def get_config(preset: str = "") -> Experiment:
    return presets.baseline(VAE, preset)
""",
    "circles": """
from gcad_jax import checks, presets
from gcad_jax.config import Experiment
from gcad_jax.data.circles import Circles


def get_config(preset: str = "") -> Experiment:
    checks.one_of("the preset behind the config file", preset, ("", "paper"))
    if preset == "paper":
        return presets.gcad(Circles(), presets.PAPER)
    return Experiment(
        data=Circles(num_train=presets.SMALL_CIRCLES), method=presets.circles()
    )
""",
    "teacher": """
from gcad_jax import presets
from gcad_jax.config import Pretraining


def get_config(preset: str = "") -> Pretraining:
    return presets.teacher(preset)
""",
    "throughput": """
from gcad_jax import presets
from gcad_jax.studies.throughput_settings import ThroughputStudy


def get_config(preset: str = "") -> ThroughputStudy:
    return presets.throughput(preset)
""",
    "saturation": """
from gcad_jax.studies.saturation_settings import SaturationStudy


def get_config(preset: str = "") -> SaturationStudy:
    return SaturationStudy(num_draws=10)
""",
} | {
    name: f"""
from gcad_jax import study_presets
from gcad_jax.study import Study


def get_config(preset: str = "") -> Study:
    return study_presets.{name}(preset)
"""
    for name in ("ablations", "benchmark", "precision", "seeds", "toy")
}
CODE = """
import runpy, sys
for path in sys.argv[1:]:
    config = runpy.run_path(path)["get_config"]()
    print(type(config).__name__)
"""


def test_copies_of_the_config_files_load(tmp_path):
    files = []
    for name, text in HEADERS.items():
        files.append(tmp_path / f"{name}.py")
        files[-1].write_text(text)
    done = outside.python(["-c", CODE, *map(str, files)], tmp_path)
    assert done.returncode == 0, done.stderr
    kinds = dict(zip(HEADERS, done.stdout.split(), strict=True))
    assert kinds["circles"] == kinds["methods"] == "Experiment"
    assert kinds["teacher"] == "Pretraining"
    assert kinds["ablations"] == "Ablations"
    assert kinds["toy"] == "Toy"
