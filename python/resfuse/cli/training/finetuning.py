"""Going on from published weights: what starts with them, what stays, how fast the rest goes."""

import dataclasses
import functools
from collections.abc import Callable

from resfuse.cli.data import Dataset
from resfuse.cli.training.networks import Network, check_images, network, variables_of
from resfuse.cli.training.options import Options
from resfuse.cli.training.parts import within
from resfuse.cli.training.pretrained import Pretrained

__all__ = ["fine_tuned"]


def fine_tuned(
    pretrained: Pretrained, options: Options, data: Dataset, resumed: bool
) -> tuple[Network, Callable[[str], float]]:
    """The network, and by what to multiply the learning rate of a variable, given its path.

    It starts with the weights of the options' file, unless ``resumed``: all its variables will be
    replaced then, and the file need not be there any more.
    """
    frozen = pretrained.frozen(options.freeze)
    classes = len(data.classes)
    net = network(pretrained, classes, data.image_shape, frozen=frozen)
    assert options.weights is not None
    check_images(net, data.image_shape, options.weights)
    if not resumed:
        load = functools.partial(pretrained.loaded, options.weights, classes)
        net = dataclasses.replace(net, init=lambda seed: variables_of(load(seed)))
    return net, functools.partial(_factor, options, pretrained.head, frozen)


def _factor(options: Options, head: str, frozen: tuple[str, ...], path: str) -> float:
    if within(path, frozen):
        return 0.0
    assert options.loaded_lr is not None
    return 1.0 if within(path, (head,)) else options.loaded_lr / options.lr
