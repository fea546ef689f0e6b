"""Every seed on every device, and each batch split over them."""

import dataclasses

from gcad_jax.core import multihost
from gcad_jax.core.axes import BATCH
from gcad_jax.core.errors import UserError
from gcad_jax.training.parallel.layout import Layout


@dataclasses.dataclass(frozen=True)
class BatchLayout(Layout):
    """Gradients are averaged across the devices: for large batches of few seeds.

    A program takes states (S, ...) and gives metrics (K, S), the same everywhere.
    """

    kind = BATCH
    split_axis = 2  # of (K, S, B, ...)
    state_axis = None

    def misfit(self, field: str, batch_size: int, num_seeds: int) -> UserError | None:
        """Unless each device has equally many examples."""
        count = len(self.devices)
        if batch_size % count == 0:
            return None
        fewer = "fewer devices with num_devices=N"
        if count == multihost.num_processes() > 1:
            fewer = "fewer hosts"
        return UserError(
            f"{field} is {batch_size}, which {count} devices cannot share "
            f"evenly; choose a multiple of {count}, or {fewer}.",
            "num_devices",
        )
