"""AE, the autoencoder of the paper [P 5.2]: what it cannot reconstruct is anomalous."""

import dataclasses
from typing import ClassVar

from gcad_jax.methods.common.reconstruction import ReconstructionMethod


@dataclasses.dataclass(eq=False)
class AE(ReconstructionMethod):
    """The autoencoder; its code is what the encoder says."""

    title: ClassVar[str] = "AE"
    variational: ClassVar[bool] = False
