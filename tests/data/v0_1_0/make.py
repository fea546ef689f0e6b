"""python tests/data/v0_1_0/make.py [PART ...]: makes the files of this folder again.

Run it in a checkout of version 0.1.0; README.md says how. It only runs commands and
calls what is public, as somebody outside would. Parts are the functions of `PARTS`; all
are made where none is named.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

import numpy as np
from etils import epath
from PIL import Image

import gcad_jax

HERE = pathlib.Path(__file__).parent
ROOT = pathlib.Path(gcad_jax.__file__).parents[1]  # the checkout of 0.1.0
# As the tests compile (tests/conftest.py), so that rounding is the same.
XLA_FLAGS = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false"
)
ENVIRONMENT = {
    **os.environ,
    "JAX_PLATFORMS": "cpu",
    "JAX_NUM_CPU_DEVICES": "1",
    "XLA_FLAGS": XLA_FLAGS,
    "PYTHONPATH": str(ROOT),
    "COLUMNS": "80",
    # No folder of the machine in the exported file.
    "JAX_HLO_SOURCE_FILE_CANONICALIZATION_REGEX": ".*/",
}
TIME = 1_700_000_000  # of every file of the packed data sets

CIRCLES = [
    "--config.num_devices=1",
    "--config.log_every=1",
    "--config.figure_images=0",
    "--config.image_size=32",
    "--config.method.inference_batch_size=4",
    "--config.data.num_train=12",
    "--config.data.num_validation=5",
    "--config.data.num_test=4",
    "--config.data.side=32",
    "--config.data.radius=5",
    "--config.data.blur_sigma=0.5",
    "--config.data.region_radius_min=2",
    "--config.data.region_radius_max=4",
    "--config.data.min_distance=14",
]
GCAD = [
    "--config.batch_size=2",
    "--config.method.P=(17,)",
    "--config.method.d_loc=4",
    "--config.method.width=0.015625",
    "--config.method.E_loc_width=0.0625",
    "--config.method.R_glo_start=0.5",
    "--config.method.skip_end=0.25",
]
AUTOENCODER = [
    "--config.epochs=2",
    "--config.batch_size=2",
    "--config.method.g=4",
    "--config.method.widths=(4,4,4,4,4)",
]
METHODS = {
    "gcad": ["--config=configs/circles.py", "--config.epochs=4", *GCAD],
    "student_teacher": [
        "--config=configs/student_teacher.py:circles",
        "--config.epochs=2",
        "--config.batch_size=2",
        "--config.method.P=(17,)",
        "--config.method.students=2",
        "--config.method.d_loc=4",
        "--config.method.E_loc_width=0.03125",
        "--config.method.teacher=random",
    ],
    "autoencoder": ["--config=configs/autoencoder.py:circles", *AUTOENCODER],
    "vae": ["--config=configs/vae.py:circles", *AUTOENCODER],
    "mnad": [
        "--config=configs/mnad.py:circles",
        "--config.epochs=2",
        "--config.batch_size=2",
        "--config.method.items=3",
        "--config.method.width=0.015625",
        "--config.method.learning_rate=1e-3",
    ],
    "fanogan": [
        "--config=configs/fanogan.py:circles",
        "--config.epochs=1",
        "--config.batch_size=2",
        "--config.method.samples_per_epoch=8",
        "--config.method.critic_updates=2",
        "--config.method.encoder_updates=4",
        "--config.method.latent=4",
        "--config.method.widths=(4,4,4)",
    ],
    "spade": [
        "--config=configs/spade.py:circles",
        "--config.method.weights=random",
        "--config.method.d_loc=8",
        "--config.method.E_loc_width=0.03125",
        "--config.method.K=2",
        "--config.method.sigma=1",
    ],
    "variation_model": ["--config=configs/variation_model.py:circles"],
}
HALF_WAY = ["--config=configs/circles.py", "--config.epochs=8", *GCAD, *CIRCLES]
STOP_AFTER = 30  # of 48 steps; R_glo is trained from step 24


def command(module: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """`python -m gcad_jax.MODULE ARGUMENTS`, which must succeed."""
    words = [sys.executable, "-m", f"gcad_jax.{module}", *arguments]
    done = subprocess.run(
        words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{words}: {done.stdout}{done.stderr}")
    return done


def write_json(name: str, value: object) -> None:
    """A file of this folder."""
    (HERE / name).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: pathlib.Path) -> object:
    """What a file holds."""
    return json.loads(path.read_text())


def rows(path: pathlib.Path) -> list[object]:
    """The rows of metrics.jsonl."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def pack(name: str, folder: pathlib.Path) -> None:
    """All files of a folder as one archive, the same bytes each time."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = TIME
        return info

    with tarfile.open(HERE / name, "w:xz") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.add(path, path.relative_to(folder), filter=plain)


def images(_: pathlib.Path) -> None:
    """Four RGB images of three sizes, the last one most unlike those of the training.

    Arithmetic makes them, so that no generator of random numbers is needed.
    """
    (HERE / "images").mkdir(exist_ok=True)
    for number, (height, width) in enumerate([(32, 32), (40, 28), (23, 51), (32, 32)]):
        y, x, c = np.mgrid[:height, :width, :3]
        pixels = 247 + (7 * y + 13 * x + 29 * c + 31 * number) % 9
        top, left = 5 + 3 * number, 4 + 4 * number
        pixels[top : top + 9, left : left + 8] = (20 * number, 0, 0)
        if number == 3:
            pixels[4:28, 4:28] = 255 * ((x + y) // 3 % 2)[4:28, 4:28]
        image = Image.fromarray(pixels.astype(np.uint8))
        image.save(HERE / f"images/{number}.png")


def detectors(place: pathlib.Path) -> None:
    """detectors/METHOD.npz: of a finished run of each method."""
    (HERE / "detectors").mkdir(exist_ok=True)
    for name, flags in METHODS.items():
        workdir = place / name
        command("main", [*flags, *CIRCLES, f"--workdir={workdir}"])
        file = workdir / "circles/detectors/seed_0.npz"
        shutil.copyfile(file, HERE / f"detectors/{name}.npz")


def predictions(_: pathlib.Path) -> None:
    """maps.npz and scores.json: what they say of images/, under XLA_FLAGS."""
    code = f"import runpy; runpy.run_path({str(HERE / 'make.py')!r})['predict_all']()"
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True)


def predict_all() -> None:
    """maps.npz and scores.json of every detector."""
    paths = sorted((HERE / "images").glob("*.png"))
    maps, scores = {}, {}
    for name in METHODS:
        detector = gcad_jax.load(HERE / f"detectors/{name}.npz")
        found = detector.predict(paths)
        scores[name] = {
            "threshold": detector.threshold(),
            "branches": detector.branches,
            "validation_scores": detector.validation_scores,
            "score": [f.score for f in found],
            "anomalous": [f.anomalous for f in found],
            "p_value": [f.p_value for f in found],
            "size": [(f.height, f.width) for f in found],
        }
        for branch in found[0].network_maps:
            maps[f"{name}/{branch}"] = np.stack([f.network_maps[branch] for f in found])
        if name == "gcad":
            for number, prediction in enumerate(found):
                maps[f"gcad/full/{number}"] = prediction.anomaly_map
    np.savez_compressed(HERE / "maps.npz", **maps)
    write_json("scores.json", scores)


def half_way(place: pathlib.Path) -> None:
    """half_way.tar.xz: the workdir of a stopped run; half_way.json: how it ended."""
    workdir = place / "half_way"
    words = [sys.executable, "-m", "gcad_jax.main", *HALF_WAY, f"--workdir={workdir}"]
    slowly = ["--config.checkpoint_minutes=0.0"]
    process = subprocess.Popen(
        [*words, *slowly], cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    checkpoints = workdir / "circles/checkpoints"
    while process.poll() is None:
        there = checkpoints.iterdir() if checkpoints.is_dir() else ()
        if any(f.name.isdigit() and int(f.name) >= STOP_AFTER for f in there):
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.002)
    _, errors = process.communicate()
    assert process.returncode == 143, errors
    stopped = len(rows(workdir / "circles/metrics.jsonl"))
    assert STOP_AFTER <= stopped < 48, stopped
    shutil.rmtree(workdir / ".programs", ignore_errors=True)
    *older, _ = sorted(f for f in checkpoints.iterdir() if f.name.isdigit())
    for folder in older:  # two are kept; one is enough to continue
        shutil.rmtree(folder)
    pack("half_way.tar.xz", workdir)
    command("main", [*HALF_WAY, f"--workdir={workdir}"])
    category = workdir / "circles"
    expected = {
        "command": HALF_WAY,
        "stopped_at": stopped,
        "rows": rows(category / "metrics.jsonl"),
        "metrics": read_json(category / "metrics.json"),
    }
    write_json("half_way.json", expected)


def packed(place: pathlib.Path) -> None:
    """packed.tar.xz: two tiny data sets and the cache; packed.json: what is in them."""
    from gcad_jax.data.loco import MvtecLocoAd
    from gcad_jax.data.mvtec_ad import MvtecAd

    root = place / "packed"
    trees = runpy.run_path(str(ROOT / "tests/data/trees.py"))
    trees["make_loco"](root / "loco")
    trees["make_ad"](root / "ad")
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (TIME, TIME))
    expected = {}
    kinds = {"loco": (MvtecLocoAd, "juice_bottle"), "ad": (MvtecAd, "hazelnut")}
    for name, (kind, category) in kinds.items():
        cache = root / "cache" / name
        data = kind(root=str(root / name), cache_dir=str(cache))
        loaded = data.load(category, 16, 3)
        [folder] = (cache / "gcad_jax/tfds").iterdir()
        expected[name] = {
            "category": category,
            "cache": folder.name.rsplit("-", 2)[0],
            "files": files_in_order(root / name / category, folder.name),
            "examples": describe(loaded),
        }
        folder.rename(cache / "packed")
        shutil.rmtree(cache / "gcad_jax")
    pack("packed.tar.xz", root)
    write_json("packed.json", expected)


def files_in_order(category: pathlib.Path, cache: str) -> list[list[object]]:
    """Names and sizes of the files, in the order that the cache's name counts them."""
    from gcad_jax.data import loco_layout, mvtec_ad_layout  # of 0.1.0 alone

    module = loco_layout if "loco" in cache else mvtec_ad_layout
    layout = module.read_layout(epath.Path(category))
    names = [str(p.relative_to(layout.folder)) for p in layout.files]
    return [[name, (category / name).stat().st_size] for name in names]


def describe(category: object) -> dict[str, object]:
    """Digests of the images of a Category, and its test images in words."""
    values = {
        name: hashlib.sha256(getattr(category, name).tobytes()).hexdigest()
        for name in ("train", "validation", "test")
    }
    values["test_images"] = [
        [
            *(image.name, image.kind, image.height, image.width),
            [
                [
                    *(region.defect_name, region.saturation_threshold),
                    *(region.relative_saturation, region.pixels.tolist()),
                ]
                for region in image.regions
            ],
        ]
        for image in category.test_images
    ]
    return values


def exported(_: pathlib.Path) -> None:
    """gcad.jaxexport of detectors/gcad.npz, and in exported.json what it says."""
    output = HERE / "gcad.jaxexport"
    detector = HERE / "detectors/gcad.npz"
    command("export", [f"--workdir={detector}", f"--output={output}"])
    code = """
import json, sys
import jax, jax.export
import numpy as np
from etils import epath
from PIL import Image
detect = jax.jit(jax.export.deserialize(open(sys.argv[1], "rb").read()).call)
images = [np.asarray(Image.open(path)) for path in sys.argv[2:]]
found = [jax.device_get(detect(image[None])) for image in images]
names = ("score", "anomalous", "p_value", "threshold")
values = {name: [np.ravel(f[name])[0].item() for f in found] for name in names}
values["map_sum"] = [float(f["anomaly_map"].sum(dtype="float64")) for f in found]
print(json.dumps({"jax": jax.__version__, **values}))
"""
    paths = sorted(map(str, (HERE / "images").glob("*.png")))
    words = [sys.executable, "-c", code, str(output), *paths]
    done = subprocess.run(words, env=ENVIRONMENT, check=True, stdout=subprocess.PIPE)
    write_json("exported.json", json.loads(done.stdout))


def merge_parts(place: pathlib.Path) -> None:
    """parts.tar.xz: two finished workdirs; merged.json: what they are together."""
    flags = [*METHODS["autoencoder"], *CIRCLES]
    for seed in (0, 1):
        path = place / f"parts/seed_{seed}"
        command("main", [*flags, f"--config.seeds=({seed},)", f"--workdir={path}"])
        for name in (".programs", "circles/checkpoints", "circles/tensorboard"):
            shutil.rmtree(path / name, ignore_errors=True)
        shutil.rmtree(path / "circles/detectors")
        for file in path.rglob("*.p*"):  # figures
            file.unlink()
        (path / "report.html").unlink()
    pack("parts.tar.xz", place / "parts")
    parts, merged = place / "parts/*", place / "merged"
    command("merge", [f"--parts={parts}", f"--workdir={merged}"])
    expected = {
        "command": [*flags, "--config.seeds=(0,1)"],
        "metrics": read_json(merged / "circles/metrics.json"),
        "details": read_json(merged / "circles/details.json"),
    }
    write_json("merged.json", expected)


COMMANDS = ("main", "predict", "export", "evaluate", "convert", "merge")


def help_flags(_: pathlib.Path) -> None:
    """help.json: the flags and config files that the help of each command names."""
    values = {}
    for name in COMMANDS:
        text = command(name, ["--help"]).stdout
        values[name] = {
            "flags": sorted(set(re.findall(r"--[A-Za-z_][\w.]*", text))),
            "configs": sorted(set(re.findall(r"configs/\w+\.py", text))),
        }
    words = [sys.executable, "-m", "gcad_jax"]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True)
    commands = re.findall(r"-m (gcad_jax\.\w+)", done.stdout.decode())
    values["gcad_jax"] = {"commands": sorted(set(commands))}
    write_json("help.json", values)


SETS = ("", "loco", "mvtec_ad", "circles", "folder")
OF_METHOD = (*SETS, *(f"small,{name}".strip(",") for name in SETS))
OF_STUDY = (*OF_METHOD, "loco,circles", "small,mvtec_ad,circles,folder")
GCADS = ("", "small", "throughput")
PRESETS = {
    "circles": ("", "small", "paper"),
    **dict.fromkeys(("loco", "mvtec_ad", "folder"), GCADS),
    **dict.fromkeys([name for name in METHODS if name != "gcad"], OF_METHOD),
    "pretrain_teacher": ("", "dense", "small"),
    **dict.fromkeys(("study_ablations", "study_benchmark"), OF_STUDY),
    **dict.fromkeys(("study_precision", "study_seeds"), OF_STUDY),
    "study_saturation": ("", "small", "paper"),
    "study_throughput": ("", "small"),
    "study_toy": ("", "small"),
}


def flat(value: object, name: str) -> dict[str, object]:
    """Every field of a dataclass by its flag, and the class of each part."""
    if not dataclasses.is_dataclass(value):
        return {name: value}
    fields = {f"{name}:": type(value).__name__}
    for field in dataclasses.fields(value):
        fields |= flat(getattr(value, field.name), f"{name}.{field.name}".strip("."))
    return fields


def config_files(_: pathlib.Path) -> None:
    """configs.json.xz: every field of every config file, by file and preset."""
    import lzma

    values = {}
    for name, presets in PRESETS.items():
        get_config = runpy.run_path(str(ROOT / f"configs/{name}.py"))["get_config"]
        for preset in presets:
            values[f"{name}:{preset}"] = flat(get_config(preset), "")
    assert {p.stem for p in (ROOT / "configs").glob("*.py")} == set(PRESETS)
    text = json.dumps(values, indent=1, sort_keys=True) + "\n"
    (HERE / "configs.json.xz").write_bytes(lzma.compress(text.encode(), preset=9))


def worked(place: pathlib.Path) -> None:
    """worked/: the code of both examples of docs/; worked.json: what they give."""
    values = {}
    small = ["image_size=32", "data.num_train=8", "data.num_validation=4"]
    small += ["data.num_test=4", "figure_images=0", "method.p=17"]
    flags = {
        "new_method": [
            "--config=configs/mean_features.py:circles",
            *(f"--config.{word}" for word in small),
        ],
        "new_data_set": [
            "--config=configs/panels.py",
            "--config.data.root=panels",
            "--config.figure_images=0",
        ],
    }
    shutil.rmtree(HERE / "worked", ignore_errors=True)
    for name, words in flags.items():
        folder = place / name
        shutil.copytree(ROOT / "gcad_jax", folder / "gcad_jax")
        page = (ROOT / f"docs/{name}.md").read_text()
        found = re.findall(r"`([\w/]+\.py)`:\n\n```python\n(.*?)```", page, re.S)
        for path, code in found:
            for target in (folder / path, HERE / "worked" / name / path):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(code)
        environment = {**ENVIRONMENT, "PYTHONPATH": str(folder)}
        run = [sys.executable, "-m", "gcad_jax.main", *words, "--workdir=run"]
        if name == "new_data_set":
            subprocess.run([sys.executable, "make_panels.py"], cwd=folder, check=True)
        subprocess.run(run, cwd=folder, env=environment, check=True)
        [metrics] = folder.glob("run/*/metrics.json")
        values[name] = {"command": words, "metrics": read_json(metrics)}
        values[name]["category"] = metrics.parent.name
    write_json("worked.json", values)


def sums(_: pathlib.Path) -> None:
    """SHA256SUMS: of every file here but those of text about it."""
    files = sorted(p for p in HERE.rglob("*") if p.is_file())
    passed_over = {"README.md", "make.py", "SHA256SUMS"}
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(HERE)}\n"
        for p in files
        if p.name not in passed_over and "__pycache__" not in p.parts
    ]
    (HERE / "SHA256SUMS").write_text("".join(lines))


PARTS = {
    function.__name__: function
    for function in (
        *(images, detectors, predictions, half_way, packed, exported),
        *(merge_parts, help_flags, config_files, worked, sums),
    )
}


def main(names: list[str]) -> None:
    """Makes the parts that are named, or all."""
    assert gcad_jax.__version__ == "0.1.0", gcad_jax.__version__
    with tempfile.TemporaryDirectory() as place:
        for name in names or PARTS:
            print(name, flush=True)
            PARTS[name](pathlib.Path(place))


if __name__ == "__main__":
    main(sys.argv[1:])
