"""The networks that are compared, as data, and their arithmetic."""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.extend.core import JaxprEqn

import unet
from nnx_networks import Functional
from resfuse import d2l, linen, nnx


@dataclasses.dataclass(frozen=True)
class Model:
    """A network of resfuse's for square images, named as JSON can, so that any version makes it."""

    network: str  # ``linen.ResNet18``, ``d2l.ResNet18``, ``nnx.MobileNetV2``, ``unet.UNet``
    size: int
    batches: tuple[int, ...] = (1, 8, 32)  # by default
    channels: int = 3
    num_classes: int = 1000
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    torchvision: str | None = None  # its name there, unless engines/torch_networks.py has it

    @property
    def is_book(self) -> bool:
        """Whether the network is one of "Dive into Deep Learning"."""
        return self.network.startswith("d2l.")

    @property
    def momentum(self) -> float:
        """Of the running statistics, as Flax counts it."""
        return 0.99 if self.is_book else 0.9

    def module(self, implementation: str | None, *, training: bool = True) -> Any:
        """The network, without its variables: a module of Linen, or what acts like one."""
        library, _, name = self.network.partition(".")
        settings = {"num_classes": self.num_classes, **self.settings}
        if library == "nnx":
            make = functools.partial(getattr(nnx, name), **settings)
            return Functional(make, implementation, training=training, momentum=self.momentum)
        options = {"training": training} if self.is_book else {}
        make = getattr({"linen": linen, "d2l": d2l, "unet": unet}[library], name)
        return make(implementation=implementation, **options, **settings)

    def forward(self, implementation: str | None) -> Callable[..., Any]:
        """Maps variables and images to logits, by the running statistics."""
        apply = self.module(implementation, training=False).apply
        if not self.network.startswith(("linen.", "unet.")):
            return apply
        return functools.partial(apply, use_running_average=True)

    def forward_training(self, implementation: str | None) -> Callable[..., Any]:
        """Maps variables and images to logits, by those of the batch, and to the running ones."""
        return functools.partial(self.module(implementation).apply, mutable=["batch_stats"])


def gflop(model: Model, batch: int, *, trains: bool) -> float:
    """Of convolutions and dense layers, a multiply-add counting as two.

    Only weights that fall on the image count, not those on its padding. Training does each layer
    three times, forwards and for two derivatives; the first needs none by the images.
    """
    layers = list(_multiply_adds(model))
    count = 3 * sum(layers) - layers[0] if trains else sum(layers)
    return 2 * batch * count / 1e9


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution without dilation: the shapes of images and kernel, and its geometry."""

    x: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    groups: int


def convolutions(model: Model, batch: int) -> Counter[Convolution]:
    """How often the plain network has each convolution, in the order of its layers."""
    return Counter(
        Convolution(
            _shape(eqn.invars[0]),
            _shape(eqn.invars[1]),
            eqn.params["window_strides"],
            tuple(eqn.params["padding"]),
            eqn.params["feature_group_count"],
        )
        for eqn in _equations(model, batch)
        if eqn.primitive.name == "conv_general_dilated"
    )


def _equations(model: Model, batch: int) -> Sequence[JaxprEqn]:
    """Those of the plain network."""
    x = jax.ShapeDtypeStruct((batch, model.size, model.size, model.channels), jax.numpy.float32)
    variables = jax.eval_shape(model.module("xla").init, jax.random.key(0), x)
    # In training mode too it is this: batch norms are no multiply-adds of its layers.
    equations: Sequence[JaxprEqn] = jax.make_jaxpr(model.forward("xla"))(variables, x).eqns
    return equations


def _multiply_adds(model: Model) -> Iterator[int]:
    """Those of each layer, for one image."""
    for eqn in _equations(model, 1):
        if eqn.primitive.name == "conv_general_dilated":
            yield _convolution(eqn)
        elif eqn.primitive.name == "dot_general":
            # A dense layer takes each pixel, or the means alone.
            yield math.prod(_shape(eqn.invars[0])) * _shape(eqn.invars[1])[-1]


def _convolution(eqn: JaxprEqn) -> int:
    """Of a convolution in Flax's layouts, whose window has no dilation."""
    (_, *sizes, _), (*window, inputs, outputs) = map(_shape, eqn.invars)
    _, *places, _ = _shape(eqn.outvars[0])
    names = ("window_strides", "padding", "lhs_dilation")
    settings = map(eqn.params.__getitem__, names)
    axes = zip(sizes, window, places, *settings, strict=True)
    taps = (
        sum(
            stride * place - low + tap in range(0, size * gap, gap)
            for place in range(end)
            for tap in range(width)
        )
        for size, width, end, stride, (low, _), gap in axes
    )
    return inputs * outputs * math.prod(taps)


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(variable.aval.shape)
