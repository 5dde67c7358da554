"""A file of weights of a ResNet that compiles at once."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

import resfuse
from agreement import on_device
from resfuse.nnx import Architecture, ResNet

SIZE = 12
MEAN, DEVIATION = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def write_weights(folder: Path, classes: int = 1000) -> tuple[Path, Any]:
    """Writes it, with its preprocessing beside, as timm does; gives the file and the network."""
    architecture = Architecture("basic", (1, 1), features=8)
    model = nnx.eval_shape(lambda: ResNet(architecture, classes, cifar_stem=True, rngs=nnx.Rngs(0)))
    random = np.random.default_rng(0)
    values = jax.tree.map(  # variances, too, are positive
        lambda leaf: on_device(
            random.uniform(0.1, 0.3, leaf.shape) - 0.2 * (leaf.ndim > 1), leaf.dtype
        ),
        nnx.state(model),
    )
    nnx.update(model, values)
    model.eval()
    file = folder / "model.safetensors"
    resfuse.save(model, file)
    config = {"input_size": [3, SIZE, SIZE], "crop_pct": 0.75, "mean": MEAN, "std": DEVIATION}
    (folder / "config.json").write_text(json.dumps({"pretrained_cfg": config}))
    return file, model
