"""Import paths of version 0.1.0 that go on working: methods and data sets of others.

Somebody's own method, data set or config file imports these (docs/new_method.md and
docs/new_data_set.md of that version did). What is behind them has moved. The modules
are made when they are imported; nothing in this package imports them, and no other old
path is forwarded.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Mapping, Sequence

PACKAGE = __name__.partition(".")[0]

# Old module -> new modules, and the names in them; "new=old" where it has changed.
MOVED: Mapping[str, Mapping[str, str]] = {
    "checks": {
        "core.errors": "UserError",
        "core.checks": "fraction multiple_of nearest not_negative one_of positive",
    },
    "data.augment": {"data.input.augment": "Augmentation augment"},
    "data.category": {
        "data.dataset": "GOOD LOGICAL STRUCTURAL Category DataSet Region TestImage",
    },
    "data.layout": {"data.mvtec.files": "check_names"},
    "files": {"core.paths": "as_path list_folder=inside as_readable=readable"},
    "methods.batches": {"methods.common.apply": "in_batches"},
    "methods.optimizers": {
        "methods.common.optimizers": "adam apply_gradients cosine_decay",
    },
    "methods.parts": {"methods.common.defaults": "NothingFrozen OneMap Untrained"},
    "methods.teacher": {
        "methods.common.pretrained_e_loc": "RANDOM SHIPPED check_e_loc=check "
        "prepare_e_loc=prepared describe_weights=sentence",
    },
    "models.imagenet": {
        "models.layers.init": "imagenet_normalized=imagenet_normalised"
    },
    "presets": {
        "config.presets": "PAPER SMALL SMALL_CIRCLES baseline circles data_set gcad "
        "parse_preset=chosen run_of small teacher",
        "studies.throughput.config": "throughput",
    },
    "studies.saturation_settings": {
        "studies.saturation.config": "SaturationStudy",
    },
    "studies.throughput_settings": {
        "studies.throughput.config": "ThroughputStudy",
    },
    "study": {"studies.grid.study": "Study"},
    "study_presets": {
        "studies.grid.ablations": "ablation_study=ablations",
        "studies.grid.benchmark": "benchmark_study=benchmark toy_study=toy",
        "studies.grid.precision": "precision_study=precision",
        "studies.grid.seeds": "seed_study=seeds",
    },
    "types": {
        "core.types": "AnomalyMaps Array Features Images ImagesU8 Key Keys Tree",
    },
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of `MOVED`, after all others have found nothing."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """The module of an old path; None for any other."""
        package, _, name = fullname.partition(".")
        if package != PACKAGE or name not in MOVED:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def exec_module(self, module: types.ModuleType) -> None:
        """Gives the module its names."""
        for place, names in MOVED[module.__name__.partition(".")[2]].items():
            source = importlib.import_module(f"{PACKAGE}.{place}")
            for name in names.split():
                new, _, old = name.partition("=")
                setattr(module, old or new, getattr(source, new))


def install() -> None:
    """Has Python find the old paths too; once, however often it is called."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
