"""Networks by name or of published weights, as functions of their variables.

Linen or NNX has made them.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from resfuse import d2l
from resfuse import nnx as networks
from resfuse.cli.ending import refuse
from resfuse.cli.training.parts import map_paths, within
from resfuse.cli.training.pretrained import Pretrained
from resfuse.models.regnet import REGNETS
from resfuse.weights.families import FAMILIES

Shape = tuple[int, int, int]

TINY_WIDTH = 32
CIFAR_STEM_UP_TO = 64  # pixels; larger images get ImageNet's stem


def _known_as(name: str) -> str:
    """What torchvision calls a network, and timm those that torchvision lacks."""
    if name.startswith("VGG"):
        return f"{name.lower()}_bn"
    if name in REGNETS and REGNETS[name].nearest:
        return _timms_regnet(name)
    return re.sub(
        r"(Wide|(?:Efficient|Mobile|Reg)Net|V3|ConvNeXt|(?<=Net)[XY])", r"\1_", name
    ).lower()


def _timms_regnet(name: str) -> str:
    """With tenths of billions of operations: ``RegNetX200MF`` is ``regnetx_002``."""
    kind, number, unit = re.findall(r"RegNet([XY])([\d_]+)([MG])F", name)[0]
    tenths = float(number.replace("_", ".")) * {"M": 0.01, "G": 10}[unit]
    return f"regnet{kind.lower()}_{round(tenths):03}"


_FAMILIES = {
    _known_as(name): (family, name) for family, each in FAMILIES.items() for name in each.table
}
_D2L = {f"d2l-resnet{depth}": f"ResNet{depth}" for depth in (18, 34, 50, 101, 152)}
NAMES = ("tiny", *_FAMILIES, *_D2L)


class Variables(NamedTuple):
    """What a network has learned, and all else that changes in training: two pytrees of arrays.

    That is the running statistics of its batch norms, and what dropout draws from.
    """

    params: Any
    statistics: Any


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as two functions.

    ``init(seed)`` makes its variables. ``apply(variables, images, training)`` maps images
    ``(b, H, W, C)`` to logits ``(b, classes)``, and gives the statistics after that.
    """

    init: Callable[[int], Variables]
    apply: Callable[[Variables, Array, bool], tuple[Array, Any]]


def network(
    name: str | Pretrained,
    classes: int,
    image_shape: Shape,
    implementation: str | None = None,
    frozen: tuple[str, ...] = (),
) -> Network:
    """The network with one of the ``NAMES``, or one that was published, for so many classes.

    Args:
        name: Which network.
        classes: How many logits.
        image_shape: ``(H, W, C)``.
        implementation: Of ResNets; ``None`` chooses.
        frozen: Parts that do not change in training: they have no gradients, and run as they do
            in evaluation.
    """
    if isinstance(name, Pretrained):
        net = _nnx(functools.partial(name.module, classes), frozen)
        return dataclasses.replace(
            net,
            apply=lambda variables, images, training: net.apply(
                variables, name.prepared(images), training
            ),
        )
    if name in _D2L:
        make = functools.partial(
            getattr(d2l, _D2L[name]), num_classes=classes, implementation=implementation
        )
        return _linen(make, image_shape)
    return _nnx(lambda rngs: module(name, classes, image_shape, implementation, rngs), frozen)


def check_images(net: Network, image_shape: Shape, name: str) -> None:
    """Refuses images of which the network's strides leave nothing."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    try:
        jax.eval_shape(lambda images: net.apply(net.init(0), images, False), images)
    except (ArithmeticError, ValueError, TypeError) as error:
        height, width, _ = image_shape
        refuse(f"images of {height}x{width} are not for {name}; --size makes others: {error}")


def module(
    name: str, classes: int, image_shape: Shape, implementation: str | None, rngs: nnx.Rngs
) -> nnx.Module:
    """The NNX module behind a name that is not the book's."""
    height, width, channels = image_shape
    if name == "tiny":
        return networks.ResNetClassifier(
            channels, TINY_WIDTH, classes, implementation=implementation, rngs=rngs
        )
    family, published = _FAMILIES[name]
    options: dict[str, Any] = {}
    if family == "ResNet":
        small = max(height, width) <= CIFAR_STEM_UP_TO
        options = {"cifar_stem": small, "implementation": implementation}
    return getattr(networks, published)(classes, in_channels=channels, rngs=rngs, **options)


def variables_of(model: nnx.Module) -> Variables:
    """The variables of a module; keys, which no checkpoint holds, as the numbers in them."""
    params, statistics = nnx.state(model, nnx.Param, ...)
    return Variables(params, jax.tree.map(_numbers, statistics))


def _numbers(leaf: Array) -> Array:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _nnx(make: Callable[[nnx.Rngs], nnx.Module], frozen: tuple[str, ...]) -> Network:
    graphs, typed = _graphs(make, frozen)

    def init(seed: int) -> Variables:
        return variables_of(make(nnx.Rngs(seed)))

    def apply(variables: Variables, images: Array, training: bool) -> tuple[Array, Any]:
        params, statistics = variables
        if training:
            params = map_paths(
                lambda path, leaf: jax.lax.stop_gradient(leaf) if within(path, frozen) else leaf,
                params,
            )
        statistics = jax.tree.map(
            lambda like, leaf: jax.random.wrap_key_data(leaf) if _is_key(like) else leaf,
            typed,
            statistics,
        )
        model: Any = nnx.merge(graphs[training], params, statistics, copy=True)  # changes in place
        return model(images), variables_of(model).statistics

    return Network(init, apply)


def _graphs(
    make: Callable[[nnx.Rngs], nnx.Module], frozen: tuple[str, ...]
) -> tuple[Mapping[bool, Any], Any]:
    """The structures of the module in training and in evaluation, and its statistics' types."""

    def structure(training: bool) -> Any:
        model = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
        model.eval()
        if training:
            model.train()
            for path, each in nnx.iter_modules(model):
                if within(".".join(map(str, path)), frozen):
                    each.eval()
        return nnx.split(model, nnx.Param, ...)

    evaluation, _, typed = structure(False)
    return {False: evaluation, True: structure(True)[0]}, typed


def _linen(make: Callable[..., Any], image_shape: Shape) -> Network:
    def init(seed: int) -> Variables:
        images = jnp.zeros((1, *image_shape))
        variables = make(training=False).init(jax.random.key(seed), images)
        return Variables(variables["params"], variables["batch_stats"])

    def apply(variables: Variables, images: Array, training: bool) -> tuple[Array, Any]:
        collections = {"params": variables.params, "batch_stats": variables.statistics}
        logits, changed = make(training=training).apply(
            collections, images, mutable=["batch_stats"]
        )
        return logits, changed["batch_stats"]

    return Network(init, apply)
