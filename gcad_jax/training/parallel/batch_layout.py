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

    def fits(self, batch_size: int, num_seeds: int) -> bool:
        """Whether each device has equally many examples."""
        return batch_size % len(self.devices) == 0

    def check(self, field: str, batch_size: int, num_seeds: int) -> None:
        """Raises UserError unless it `fits`."""
        if self.fits(batch_size, num_seeds):
            return
        count = len(self.devices)
        fewer = "fewer devices with num_devices=N"
        if count == multihost.num_processes() > 1:
            fewer = "fewer hosts"
        raise UserError(
            f"{field} is {batch_size}, which {count} devices cannot share "
            f"evenly; choose a multiple of {count}, or {fewer}.",
            "num_devices",
        )
