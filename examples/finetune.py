"""Fine-tunes published weights on handwritten digits: ``python examples/finetune.py [WEIGHTS]``.

The file is any that ``resfuse.nnx.load`` reads, of a ResNet; without one the program writes one, of
a small network that has learned nothing yet. The first parts of the network stay as they were
loaded, and its head is new. Needs ``pip install "resfuse[train]"``.
"""

import sys
import tempfile
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from sklearn.datasets import load_digits

import resfuse
from resfuse.nnx import Architecture, ResNet, load

FROZEN = "conv1", "bn1", "layer1"
TESTED = 297  # of 1797 digits
BATCH = 50
SCALE = 2  # digits are 8 pixels wide, which is less than a ResNet halves five times


def write_weights(file: str) -> None:
    """What is loaded where no weights are at hand."""
    architecture = Architecture("basic", (1, 1), features=16)
    resfuse.save(ResNet(architecture, 1000, cifar_stem=True, rngs=nnx.Rngs(0)), file)


def digits() -> tuple[Array, Array]:
    """Images ``(b, 16, 16, 1)`` with values from 0 to 1, and their classes."""
    images, labels = load_digits(return_X_y=True)
    pixels = images.reshape(-1, 8, 8, 1).repeat(SCALE, 1).repeat(SCALE, 2) / 16
    return jnp.asarray(pixels, jnp.float32), jnp.asarray(labels, jnp.int32)


def freeze(model: Any) -> Callable[..., bool]:
    """Has the frozen parts normalize as in evaluation; returns the filter of what shall learn."""
    model.train()
    for part in FROZEN:
        getattr(model, part).eval()
    learns: Callable[..., bool] = nnx.filterlib.to_predicate(
        nnx.All(nnx.Param, lambda path, _: path[0] not in FROZEN)
    )
    return learns


def fine_tune(model: Any, images: Array, labels: Array, epochs: int) -> None:
    """Trains all that is not frozen."""
    learns = freeze(model)
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=learns)

    def loss(model: Any, images: Array, labels: Array) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()

    @nnx.jit
    def step(model: Any, optimizer: Any, images: Array, labels: Array) -> None:
        gradients = nnx.grad(loss, argnums=nnx.DiffState(0, learns))(model, images, labels)
        optimizer.update(model, gradients)

    random = np.random.default_rng(0)
    for _ in range(epochs):
        order = random.permutation(len(labels))
        for batch in order[: len(order) // BATCH * BATCH].reshape(-1, BATCH):
            step(model, optimizer, images[batch], labels[batch])
    model.eval()


def accuracy(model: Any, images: Array, labels: Array) -> float:
    """How many of the images the fused network tells right, from 0 to 1."""
    logits = resfuse.fuse(lambda images: model(images))(images)
    return float((logits.argmax(-1) == labels).mean())


def main(weights: str | None = None, epochs: int = 10) -> Any:
    """Loads, trains and tests; returns the network."""
    with tempfile.TemporaryDirectory() as folder:
        if weights is None:
            weights = f"{folder}/resnet.safetensors"
            write_weights(weights)
        model = load(weights, num_classes=10, in_channels=1)
    images, labels = digits()
    print(f"before: {accuracy(model, images[-TESTED:], labels[-TESTED:]):.1%} right")
    fine_tune(model, images[:-TESTED], labels[:-TESTED], epochs)
    print(f"after:  {accuracy(model, images[-TESTED:], labels[-TESTED:]):.1%} right")
    return model


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
