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
LOADED = 0.1  # of the learning rate, for what was trained before

_PLACES = "data", "weights"  # which may be files


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command, by their names.

    ``momentum`` is ``None`` but for sgd, ``model`` where there are ``weights``, and ``loaded_lr``
    where there are none.
    """

    data: str
    model: str | None
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
    weights: str | None = None
    freeze: str = ""
    loaded_lr: float | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The options that were ``given``, and for the others the defaults, which fit the demo."""
        optimizer, weights = given.get("optimizer", "adamw"), given.get("weights")
        lr = given.get("lr", LEARNING_RATES[optimizer])
        defaults = {
            "data": "digits",
            "model": None if weights else "tiny",
            "epochs": 12,
            "batch_size": 32,
            "optimizer": optimizer,
            "lr": lr,
            "schedule": "cosine",
            "momentum": MOMENTUM if optimizer == "sgd" else None,
            "weight_decay": WEIGHT_DECAYS[optimizer],
            "augment": False,
            "size": None,
            "seed": 0,
            "loaded_lr": LOADED * lr if weights else None,
        }
        options = {**defaults, **given}
        places = {name: _found(options[name]) for name in _PLACES if options.get(name)}
        return cls(**{**options, **places})

    def check(self) -> None:
        """Refuses what no run could be made of."""
        self._check_network()
        for name in ("lr", "loaded_lr", "momentum", "weight_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= LARGEST:
                refuse(f"{_option(name)} {value:g}: it must be finite, and not negative")
        if self.lr == 0:
            refuse("--lr 0: it must be positive")
        if self.momentum is not None and self.optimizer != "sgd":
            refuse(f"--momentum {self.momentum:g}: {self.optimizer} has none; sgd does")

    def _check_network(self) -> None:
        if self.weights is not None:
            if self.model is not None:
                refuse(f"--model {self.model}: --weights say which network it is")
            return
        if self.model not in NAMES:
            refuse(f"--model {self.model}: it must be one of {', '.join(NAMES)}")
        if self.freeze:
            refuse(f"--freeze {self.freeze}: there are no --weights to be kept")
        if self.loaded_lr is not None:
            refuse(f"--loaded-lr {self.loaded_lr:g}: there are no --weights")

    def differences(self, given: Mapping[str, Any]) -> str:
        """Says which of the options ``given`` to another command are not these."""
        return "; ".join(
            f"{_option(name)} is {getattr(self, name)} there, and {value} here"
            for name, value in given.items()
            if getattr(self, name) != (_found(value) if name in _PLACES else value)
        )


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _found(place: str) -> str:
    """The absolute path of a folder or file, so that a run goes on from any working directory."""
    path = Path(place).expanduser()
    return str(path.absolute()) if place != "digits" and path.exists() else place
