"""A trained network, as a checkpoint holds it."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from PIL import Image

import resfuse
from resfuse.cli.data.pictures import fitted, scaled
from resfuse.cli.ending import refuse
from resfuse.cli.training.checkpoints import FOLDER, Checkpoints
from resfuse.cli.training.networks import Network, Shape, Variables, network
from resfuse.cli.training.storage import first_line, read_record, restored


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A network with the weights that training gave it, and what its answers mean."""

    network: Network
    variables: Variables
    classes: tuple[str, ...]
    image_shape: Shape

    def prepared(self, image: Image.Image) -> NDArray[np.float32]:
        """What the network takes for a picture: as in training."""
        return scaled(fitted(image, self.image_shape))

    def predict(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps images ``(b, H, W, C)``, values from 0 to 1, to probabilities ``(b, classes)``."""
        return np.asarray(self._fused(images))

    @functools.cached_property
    def _fused(self) -> Callable[[NDArray[np.float32]], Array]:
        def probabilities(images: NDArray[np.float32]) -> Array:
            logits, _ = self.network.apply(self.variables, jnp.asarray(images), False)
            return jax.nn.softmax(logits)

        return resfuse.fuse(probabilities)


def load_model(path: Path) -> TrainedModel:
    """Reads a checkpoint, or refuses what is none.

    Args:
        path: One checkpoint; or the directory of a run, whose best one is taken, and the latest
            where none was tested yet.
    """
    path = chosen(path).absolute()
    try:
        record = read_record(path)
        options = record.options
        net = network(record.network, len(record.classes), record.image_shape)
        variables = restored(path / "variables", jax.eval_shape(lambda: net.init(options.seed)))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        refuse(f"{path} is not a checkpoint of resfuse train: {first_line(error)}")
    return TrainedModel(net, variables, record.classes, record.image_shape)


def chosen(path: Path) -> Path:
    """Of a run's directory its best checkpoint, or else its latest; any other directory itself."""
    if not path.is_dir():
        refuse(f"{path} is not a directory with a checkpoint; files of weights go with --weights")
    if not (path / FOLDER).is_dir():
        return path
    checkpoints = Checkpoints(path)
    step = checkpoints.latest if checkpoints.best is None else checkpoints.best
    if step is None:
        refuse(f"{path} holds no checkpoint yet")
    return checkpoints.path(step)
