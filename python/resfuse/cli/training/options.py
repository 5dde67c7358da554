"""What a run depends on: the same options on the same data give the same weights."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from resfuse.cli.ending import refuse
from resfuse.cli.training.networks import NAMES

LEARNING_RATES = {"sgd": 0.1, "adam": 2e-3, "adamw": 2e-3}
WEIGHT_DECAYS = {"sgd": 0.0, "adam": 0.0, "adamw": 1e-4}
MOMENTUM = 0.9  # of sgd
LARGEST = float(np.finfo(np.float32).max)
SCHEDULES = ("cosine", "constant", "step")


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command, by their names; ``momentum`` is ``None`` but for sgd."""

    data: str
    model: str
    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    schedule: str
    momentum: float | None
    weight_decay: float
    augment: bool
    size: int | None
    seed: int

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The options that were ``given``, and for the others the defaults, which fit the demo."""
        optimizer = given.get("optimizer", "adamw")
        defaults = {
            "data": "digits",
            "model": "tiny",
            "epochs": 12,
            "batch_size": 32,
            "optimizer": optimizer,
            "lr": LEARNING_RATES[optimizer],
            "schedule": "cosine",
            "momentum": MOMENTUM if optimizer == "sgd" else None,
            "weight_decay": WEIGHT_DECAYS[optimizer],
            "augment": False,
            "size": None,
            "seed": 0,
        }
        options = {**defaults, **given}
        return cls(**{**options, "data": _found(options["data"])})

    def check(self) -> None:
        """Refuses what no run could be made of."""
        if self.model not in NAMES:
            refuse(f"--model {self.model}: it must be one of {', '.join(NAMES)}")
        for name in ("lr", "momentum", "weight_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= LARGEST:
                refuse(f"{_option(name)} {value:g}: it must be finite, and not negative")
        if self.lr == 0:
            refuse("--lr 0: it must be positive")
        if self.momentum is not None and self.optimizer != "sgd":
            refuse(f"--momentum {self.momentum:g}: {self.optimizer} has none; sgd does")

    def differences(self, given: Mapping[str, Any]) -> str:
        """Says which of the options ``given`` to another command are not these."""
        return "; ".join(
            f"{_option(name)} is {getattr(self, name)} there, and {value} here"
            for name, value in given.items()
            if getattr(self, name) != (_found(value) if name == "data" else value)
        )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _found(data: str) -> str:
    """The absolute path of a folder or file, so that a run goes on from any working directory."""
    path = Path(data).expanduser()
    return str(path.absolute()) if data != "digits" and path.exists() else data
