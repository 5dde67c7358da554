"""The networks that published weights belong to, as what a checkpoint can say of them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from resfuse import nnx as networks
from resfuse.cli.ending import refuse
from resfuse.cli.published import CHANNELS, load_network, refusing
from resfuse.cli.training.parts import names_in, within
from resfuse.weights.families import FAMILIES
from resfuse.weights.loading import Weights, read_weights

__all__ = ["Pretrained"]

_TYPE = "type"
# Children that are a stem, where none has that name.
_STEMS = {"ResNet": ("conv1", "bn1"), "DenseNet": ("conv0", "norm0")}


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A network whose weights were published: all but the weights.

    Attributes:
        family: The name of its class in ``resfuse.nnx``.
        architecture: As data.
        cifar_stem: Whether it is a ResNet for small images.
    """

    family: str
    architecture: Any
    cifar_stem: bool

    @classmethod
    def of(cls, source: str) -> Self:
        """That of a file or a name, or refuses it."""
        with refusing("--weights", source):
            weights: Weights = read_weights(source)
        return cls(weights.family, weights.architecture, weights.has_cifar_stem)

    @property
    def size(self) -> int:
        """Height and width of the images."""
        return int(self.architecture.preprocessing.size)

    @property
    def head(self) -> str:
        """The part that gives logits."""
        return FAMILIES[self.family].head

    def frozen(self, freeze: str) -> tuple[str, ...]:
        """The parts that ``--freeze`` names, or refuses a name that is none."""
        names = list(filter(None, map(str.strip, freeze.split(","))))
        if not names:
            return ()
        there = names_in(nnx.state(nnx.eval_shape(lambda: self.module(1, nnx.Rngs(0))), nnx.Param))
        found: list[str] = []
        for name in names:
            parts = _STEMS.get(self.family, (name,)) if name == "stem" else (name,)
            if not any(within(path, parts) for path in there):
                outer = ", ".join(
                    dict.fromkeys(["stem", *(path.partition(".")[0] for path in there)])
                )
                refuse(f"--freeze {name}: it must be one of {outer}, or a part of one")
            found += parts
        return tuple(found)

    def module(self, classes: int, rngs: nnx.Rngs) -> Any:
        """The network with random values, for so many classes of images in colour."""
        options = {"cifar_stem": True} if self.cifar_stem else {}
        make = getattr(networks, self.family)
        return make(self.architecture, classes, in_channels=CHANNELS, rngs=rngs, **options)

    def loaded(self, source: str, classes: int, seed: int) -> Any:
        """The same with the weights of the file; with a new head if it has other classes."""
        options = {"architecture": self.architecture, "in_channels": CHANNELS, "seed": seed}
        return load_network(source, num_classes=classes, **options)

    def prepared(self, images: Array) -> Array:
        """What the network takes, of images ``(b, H, W, C)`` with values from 0 to 1, grey or not.

        Grey images are three equal channels, as where grey files were read for these weights.
        """
        preprocess = self.architecture.preprocessing
        mean, deviation = (
            np.asarray(each, np.float32) for each in (preprocess.mean, preprocess.deviation)
        )
        images = (jnp.broadcast_to(images, (*images.shape[:-1], CHANNELS)) - mean) / deviation
        return images[..., ::-1] if preprocess.bgr else images

    def described(self) -> dict[str, Any]:
        """As JSON has it."""
        described: dict[str, Any] = _encoded(self)
        return described

    @classmethod
    def from_description(cls, fields: Mapping[str, Any]) -> Self:
        """What :meth:`described` gave, after a trip through JSON."""
        found: Self = _decoded(fields, {cls.__name__: cls, **_known_types()})
        return found


def _encoded(value: Any) -> Any:
    """Data classes become objects that name their type, tuples become lists."""
    if dataclasses.is_dataclass(value):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return {_TYPE: type(value).__name__, **{k: _encoded(v) for k, v in fields.items()}}
    return [_encoded(each) for each in value] if isinstance(value, tuple) else value


def _decoded(value: Any, types: Mapping[str, type]) -> Any:
    if isinstance(value, Mapping):
        fields = {name: _decoded(each, types) for name, each in value.items() if name != _TYPE}
        return types[value[_TYPE]](**fields)
    return tuple(_decoded(each, types) for each in value) if isinstance(value, list) else value


def _known_types() -> dict[str, type]:
    """The data classes of which architectures consist."""
    found: dict[str, type] = {}

    def visit(value: Any) -> None:
        if dataclasses.is_dataclass(value):
            found[type(value).__name__] = type(value)
            for field in dataclasses.fields(value):
                visit(getattr(value, field.name))
        elif isinstance(value, tuple):
            for each in value:
                visit(each)

    for family in FAMILIES.values():
        visit(tuple(family.table.values()))
    return found
