"""Which layout a training gets: what is asked for, or what uses most devices."""

from collections.abc import Mapping, Sequence

import jax

from gcad_jax.core.axes import BATCH, SEED
from gcad_jax.core.errors import UserError
from gcad_jax.training.parallel.batch_layout import BatchLayout
from gcad_jax.training.parallel.layout import Layout
from gcad_jax.training.parallel.seed_layout import SeedLayout

LAYOUTS: Mapping[str, type[Layout]] = {BATCH: BatchLayout, SEED: SeedLayout}


def choose_layout(
    kind: str,
    batch_size: int,
    num_seeds: int,
    num_devices: int,
    devices: Sequence[jax.Device],
) -> Layout:
    """The layout that is asked for, or the one that uses most devices.

    kind: of LAYOUTS; "" for the better one: SEED where it uses as many, for nothing
        crosses there. num_devices: 0 for as many as fit. devices: all there are;
        every process gives equally many.

    Raises:
      UserError: there is no such layout.
    """
    processes = sorted({device.process_index for device in devices})
    by_process = [[d for d in devices if d.process_index == p] for p in processes]
    most = min(len(group) for group in by_process)
    counts = [each * len(processes) for each in range(1, most + 1)]
    if num_devices and num_devices not in counts:
        of = f" of {len(processes)} processes, which share equally"
        raise UserError(
            f"config.num_devices is {num_devices}; there are {len(devices)} "
            f"{devices[0].platform} devices{of if len(processes) > 1 else ''}."
        )
    fitting, errors = [], []
    for count in [num_devices] if num_devices else counts:
        each = count // len(processes)
        used = tuple(device for group in by_process for device in group[:each])
        for layout in [LAYOUTS[name](used) for name in ([kind] if kind else LAYOUTS)]:
            if error := layout.misfit("config.batch_size", batch_size, num_seeds):
                errors.append(error)
            else:
                fitting.append((count, count > 1 and layout.kind == SEED, layout))
    if not fitting:
        raise errors[0]
    # Of equal ones `max` takes the first: on one device, where nothing crosses, BATCH.
    return max(fitting, key=lambda candidate: candidate[:2])[2]
