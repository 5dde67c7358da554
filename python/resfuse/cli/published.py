"""Published weights, for the commands that take ``--weights``."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from jax import Array
from numpy.typing import NDArray
from PIL import Image

import resfuse
from resfuse.cli.data.pictures import plain
from resfuse.cli.ending import refuse
from resfuse.cli.imagenet import class_names
from resfuse.nnx import load

__all__ = ["CHANNELS", "PublishedModel", "load_network"]

CHANNELS = 3


@contextlib.contextmanager
def refusing(what: str, source: str) -> Iterator[None]:
    """Ends the command in one line where weights cannot be read, or are of another network.

    Args:
        what: The option that was given, if it was one.
        source: What was given.
    """
    given = f"{what} {source}".strip()
    try:
        yield
    except OSError as error:
        refuse(f"{given}: {error.strerror or _line(error)}")
    except ValueError as error:
        refuse(f"{given}: {_line(error).removeprefix(f'{source}: ')}")


def _line(error: Exception) -> str:
    return "; ".join(filter(None, map(str.strip, str(error).splitlines())))


def load_network(source: str, what: str = "--weights", **options: Any) -> Any:
    """What :func:`resfuse.nnx.load` makes of a file or a name, or refuses it; says what it is."""
    with refusing(what, source), _told():
        return load(source, **options)


class _Echo(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(record.getMessage(), err=True)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Prints what loading logs, on standard error."""
    log, handler = logging.getLogger("resfuse.weights"), _Echo()
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


@dataclasses.dataclass(frozen=True)
class PublishedModel:
    """A network with published weights, its preprocessing, and what its answers mean."""

    network: Any

    @classmethod
    def load(cls, source: str) -> "PublishedModel":
        """Reads weights, or refuses them."""
        return cls(load_network(source, in_channels=CHANNELS))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what the network takes."""
        size = self.network.preprocess.size
        return size, size, CHANNELS

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        images = jax.ShapeDtypeStruct((1, *self.image_shape), jnp.float32)
        return class_names(jax.eval_shape(self.network, images).shape[-1])

    def prepared(self, image: Image.Image) -> NDArray[np.float32]:
        """What the network takes for a picture: as when its weights were made."""
        pixels: NDArray[np.float32] = self.network.preprocess(plain(image, "RGB"))
        return pixels

    def predict(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps what pictures were prepared to, ``(b, H, W, C)``, to probabilities."""
        return np.asarray(self._fused(images))

    @functools.cached_property
    def _fused(self) -> Callable[[NDArray[np.float32]], Array]:
        return resfuse.fuse(lambda images: jax.nn.softmax(self.network(jnp.asarray(images))))
