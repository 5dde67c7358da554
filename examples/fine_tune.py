"""Trains a new head, and all else a little, on weights from a file.

The file is one that this program writes; put one of torchvision's or timm's in its place.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]
from flax import nnx
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

import resfuse
from resfuse.nnx import ResNet, ResNet18, load

STEPS, BATCH, CLASSES = 30, 64, 10


def published(folder: Path) -> Path:
    """A file as others publish them."""
    file = folder / "resnet18.safetensors"
    resfuse.save(ResNet18(num_classes=1000, cifar_stem=True, rngs=nnx.Rngs(0)), file)
    return file


def batches() -> Iterator[tuple[jax.Array, jax.Array]]:
    """Handwritten digits of 8x8 pixels, drawn anew for each step."""
    digits = load_digits()
    images = (digits.images[..., None] / 16).astype(np.float32)
    draw = np.random.default_rng(0)
    while True:
        chosen = draw.choice(len(images), BATCH)
        yield jnp.asarray(images[chosen]), jnp.asarray(digits.target[chosen])


def loss(model: ResNet, images: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean cross-entropy."""
    logits = model(images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@nnx.jit
def step(
    model: ResNet, optimizer: nnx.Optimizer[ResNet], images: jax.Array, labels: jax.Array
) -> jax.Array:
    """One step of SGD; returns the loss before it."""
    value, gradients = nnx.value_and_grad(loss)(model, images, labels)
    optimizer.update(model, gradients)
    return value


def main() -> None:
    """Prints the loss, and how many of the next digits the network reads."""
    with tempfile.TemporaryDirectory() as folder:
        model = load(published(Path(folder)), num_classes=CLASSES, in_channels=1)
    optimizer = nnx.Optimizer(model, optax.sgd(0.05, momentum=0.9), wrt=nnx.Param)
    model.train()
    data = batches()
    for number in range(STEPS):
        value = step(model, optimizer, *next(data))
        if number % 10 == 9:
            print(f"step {number + 1}: loss {value:.3f}")
    model.eval()
    images, labels = next(data)
    logits = resfuse.fuse(lambda images: model(images))(images)
    print(f"accuracy: {jnp.mean(logits.argmax(-1) == labels):.0%}")


if __name__ == "__main__":
    main()
