"""Small studies for tests, and workdirs as the main job leaves them, without training.

Config, digests and maps are written by the code of the main job.
"""

import contextlib
import functools
import json
import pathlib

import numpy as np
import pytest
from helpers import map_folders as folders
from helpers import runs

from gcad_jax.config import serialization, validation
from gcad_jax.evaluation import map_files
from gcad_jax.evaluation.map_files import MAPS, write_maps
from gcad_jax.evaluation.result_files import METRICS
from gcad_jax.methods.spade import SPADE
from gcad_jax.runs import workdir
from gcad_jax.studies.saturation import run as saturation
from gcad_jax.studies.saturation.config import SaturationStudy


def make_category(
    root: pathlib.Path, name: str = folders.NAME, methods: str = "uv"
) -> None:
    """A category, and for each method random maps that find half of the defects."""
    _, perfect = folders.make_loco(root, name)
    for method in methods:
        random = np.random.default_rng([*method.encode(), len(name)])
        for path in perfect.rglob("*.tiff"):
            scores = map_files.read_map(path) * random.random() + random.random((12, 8))
            to = root / method / name / path.relative_to(perfect)
            folders.save_map(to, scores.astype(np.float32))


def study(root: pathlib.Path, **fields) -> SaturationStudy:
    given = {
        "dataset_base_dir": str(root / "data"),
        "maps": (str(root / "u"), str(root / "v")),
        "num_draws": 40,
    }
    return SaturationStudy(**(given | fields))


def study_maps(root: pathlib.Path, **fields):
    """Result and lines of a study into root/out."""
    return run_study(study(root, **fields), root / "out")


@contextlib.contextmanager
def printed_lines():
    """The lines that a study prints within, as they were before they are wrapped."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saturation, "print_line", lambda line, **_: lines.append(line))
        yield lines


def run_study(config: SaturationStudy, out: pathlib.Path):
    """Result and lines of a study."""
    with printed_lines() as lines:
        result = saturation.run(config, str(out))
    assert json.loads((out / "saturation.json").read_text()) == json.loads(
        json.dumps(result)
    )
    return result, lines


def make_run(
    path: pathlib.Path, data, image_size=32, seeds=(0,), maps=True
) -> pathlib.Path:
    """A finished run: maps are noise at the size of the network, by path and seed."""
    is_square = isinstance(image_size, int)
    kind = runs.method if is_square else functools.partial(SPADE, weights="random")
    method = kind(image_size=image_size)
    config = validation.resolve(runs.tiny(data=data, method=method, seeds=tuple(seeds)))
    with workdir.open_workdir(str(path), serialization.as_dict(config)) as folder:
        for name in data.names():
            category = data.load(name, image_size, 3)
            (folder / name).mkdir(exist_ok=True)
            workdir.check_data(folder / name, category)
            for seed in seeds if maps else ():
                random = np.random.default_rng([*str(path).encode(), seed])
                scores = random.random((len(category.test_images), 4, 4))
                to = folder / name / MAPS / f"seed_{seed}"
                write_maps(
                    *(to, name, category.test_images),
                    enlarged_maps(scores, category.test_images),
                )
            (folder / name / METRICS).write_text("{}")
    return path


def enlarged_maps(scores: np.ndarray, images):
    """Each map zoomed by whole pixels to its image."""

    def zoomed(i: int) -> np.ndarray:
        rows = np.arange(images[i].height) * scores.shape[1] // images[i].height
        columns = np.arange(images[i].width) * scores.shape[2] // images[i].width
        return scores[i][rows][:, columns]

    return zoomed


def of_workdirs(*paths: pathlib.Path, **fields) -> SaturationStudy:
    """A study that is given nothing but workdirs."""
    workdirs = tuple(str(path) for path in paths)
    return SaturationStudy(**({"workdirs": workdirs, "num_draws": 40} | fields))
