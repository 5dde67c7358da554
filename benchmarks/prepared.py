"""What all engines share: a network's weights, its images and labels, and how it trains."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from numpy.typing import NDArray

import resfuse
from models import Model

Array = NDArray[np.float32]

# Training is by SGD, always on the same batch.
LEARNING_RATE = 0.003
MOMENTUM = 0.9

_IMAGES = 8  # from which the batch norms get their statistics
_LAST = 0.2  # scales where a skip is added: larger ones make rounding grow from block to block
_LAST_SCALES = "/bn3/scale", "/project/bn/scale", "/gamma", "/bn2/scale"


class Prepared:
    """The files of one model. Every engine reads its own from the same folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def model(self) -> Model:
        """Which model it is."""
        return Model(**json.loads((self.folder / "model.json").read_text()))

    @property
    def weights(self) -> dict[str, Array]:
        """The variables of the network in Flax, named ``params/conv1/kernel``."""
        with np.load(self.folder / "weights.npz") as file:
            return dict(file)

    def variables(self) -> Any:
        """The same as Flax takes them."""
        return jax.tree.map(jax.numpy.asarray, unflatten_dict(self.weights, sep="/"))

    def onnx(self, batch: int) -> Path:
        """The network for this batch size; engines optimise better for shapes that they know."""
        return self.folder / f"{batch}.onnx"

    @property
    def torchvision(self) -> Path:
        """The weights as torchvision names them, of a network that it has."""
        return self.folder / "torchvision.safetensors"

    def images(self, batch: int) -> Array:
        """Images ``(B, H, W, C)``, always the same ones."""
        model = self.model
        shape = (batch, model.size, model.size, model.channels)
        return np.random.default_rng(0).standard_normal(shape, np.float32)

    def images_channels_first(self, batch: int) -> Array:
        """The same, ``(B, C, H, W)``."""
        return np.ascontiguousarray(self.images(batch).transpose(0, 3, 1, 2))

    def labels(self, batch: int) -> NDArray[np.int64]:
        """Classes ``(B,)`` for them, always the same ones."""
        return np.random.default_rng(1).integers(self.model.num_classes, size=batch)


def prepare(folder: str | Path, model: Model) -> Prepared:
    """Writes the weights: He's normal distribution, and batch norms that fit real activations."""
    prepared = Prepared(folder)
    (prepared.folder / "model.json").write_text(json.dumps(dataclasses.asdict(model)))
    x = prepared.images(_IMAGES)
    shapes = flatten_dict(jax.eval_shape(model.module(None).init, jax.random.key(0), x), sep="/")
    rng = np.random.default_rng(0)
    flat = {name: _draw(rng, name, shapes[name].shape) for name in sorted(shapes)}
    last = tuple(kind for kind in _LAST_SCALES if any(name.endswith(kind) for name in flat))[:1]
    for name in flat:
        if name.endswith(last) and "/0/project/" not in name:  # which has no skip
            flat[name] *= np.float32(_LAST)

    def statistics(variables: Any) -> Any:
        return model.forward_training(None)(variables, x)[1]

    # Statistics that are zero become those of the batch, times one minus the momentum.
    seen = flatten_dict(jax.jit(statistics)(unflatten_dict(flat, sep="/")), sep="/")
    flat |= {name: np.asarray(each) / (1 - model.momentum) for name, each in seen.items()}
    np.savez(prepared.folder / "weights.npz", allow_pickle=False, **flat)
    if model.torchvision:
        network, variables = model.module(None).network, unflatten_dict(flat, sep="/")
        resfuse.save(network, prepared.torchvision, variables=variables)
    return prepared


def _draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Array:
    """Initial values by the name of the variable."""
    collection, *_, kind = name.split("/")
    if collection == "batch_stats":
        return np.zeros(shape, np.float32)
    if kind in ("scale", "gamma"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    deviation = 0.1 if kind == "bias" else (2 / np.prod(shape[:-1])) ** 0.5
    return np.float32(deviation) * rng.standard_normal(shape, np.float32)
