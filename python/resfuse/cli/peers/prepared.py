"""A folder with all that the engines need: the model, its weights, and the network in ONNX."""

import pickle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resfuse.cli.peers.models import Model

Array = NDArray[np.float32]


class Prepared:
    """The files of one model. Every engine reads its own from the same folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def model(self) -> Model:
        """Which model it is; set it first."""
        loaded: Model = pickle.loads((self.folder / "model").read_bytes())
        return loaded

    @model.setter
    def model(self, model: Model) -> None:
        (self.folder / "model").write_bytes(pickle.dumps(model))

    @property
    def weights(self) -> dict[str, Array]:
        """The variables of the network in Flax, named ``params/conv1/kernel``."""
        with np.load(self.folder / "weights.npz") as file:
            return dict(file)

    @weights.setter
    def weights(self, weights: dict[str, Array]) -> None:
        np.savez(self.folder / "weights.npz", allow_pickle=False, **weights)

    def onnx(self, batch: int) -> Path:
        """The network for this batch size; engines optimise better for shapes that they know."""
        return self.folder / f"{batch}.onnx"

    def answers(self, engine: str) -> Path:
        """What the engine's first calls returned, as a NumPy file."""
        return self.folder / f"answers-{engine}.npy"

    def images(self, batch: int) -> Array:
        """Images ``(B, H, W, C)``, always the same ones."""
        shape = (batch, self.model.size, self.model.size, self.model.channels)
        return np.random.default_rng(0).standard_normal(shape, np.float32)

    def labels(self, batch: int) -> NDArray[np.int64]:
        """Classes ``(B,)`` for them, always the same ones."""
        return np.random.default_rng(1).integers(self.model.num_classes, size=batch)

    def images_channels_first(self, batch: int) -> Array:
        """The same, ``(B, C, H, W)``."""
        return np.ascontiguousarray(self.images(batch).transpose(0, 3, 1, 2))
