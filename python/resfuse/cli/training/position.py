"""How far a run has come."""

import dataclasses
from typing import Self

from resfuse.cli.training.trainer import Outcome


@dataclasses.dataclass(frozen=True)
class Position:
    """The steps done in all, and over those of the latest epoch the sums of what came of them."""

    step: int = 0
    loss: float = 0.0
    right: int = 0

    def after(self, outcome: Outcome, steps_per_epoch: int) -> Self:
        """The position one step on; a new epoch begins its sums anew."""
        begins = self.step % steps_per_epoch == 0
        loss, right = (0.0, 0) if begins else (self.loss, self.right)
        return type(self)(self.step + 1, loss + outcome.loss, right + outcome.right)
