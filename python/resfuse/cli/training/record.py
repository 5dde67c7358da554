"""What a checkpoint holds beside arrays."""

import dataclasses
from typing import Any, Self

from resfuse.cli.training.networks import Shape
from resfuse.cli.training.options import Options
from resfuse.cli.training.position import Position


@dataclasses.dataclass(frozen=True)
class Record:
    """All that going on and predicting need to know beside arrays."""

    options: Options
    classes: tuple[str, ...]
    image_shape: Shape
    train_images: int
    position: Position

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Self:
        """The record from what :func:`dataclasses.asdict` made of it, after a trip through JSON."""
        return cls(
            Options(**fields["options"]),
            tuple(fields["classes"]),
            tuple(fields["image_shape"]),
            fields["train_images"],
            Position(**fields["position"]),
        )
