"""A folder with all that the engines need: the model, its weights, and the network in ONNX."""

import pickle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resfuse._cli.peers.models import Model

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
        """The variables of ``resfuse.linen``'s network, named ``params/conv1/kernel``."""
        with np.load(self.folder / "weights.npz") as file:
            return dict(file)

    @weights.setter
    def weights(self, weights: dict[str, Array]) -> None:
        np.savez(self.folder / "weights.npz", allow_pickle=False, **weights)

    def onnx(self, batch: int) -> Path:
        """The network for this batch size; engines optimise better for shapes that they know."""
        return self.folder / f"{batch}.onnx"

    def logits(self, engine: str) -> Path:
        """What the engine made of the images, as a NumPy file."""
        return self.folder / f"logits-{engine}.npy"

    def images(self, batch: int) -> Array:
        """Images ``(B, H, W, C)``, always the same ones."""
        shape = (batch, self.model.size, self.model.size, 3)
        return np.random.default_rng(0).standard_normal(shape, np.float32)

    def images_channels_first(self, batch: int) -> Array:
        """The same, ``(B, C, H, W)``."""
        return np.ascontiguousarray(self.images(batch).transpose(0, 3, 1, 2))
