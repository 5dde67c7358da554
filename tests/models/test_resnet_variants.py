"""timm's variants of ResNet, of both APIs: deep stems, averaged skips, SE and ECA."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import agreement
import network_case
import torch_weights
from resfuse import linen
from resfuse import nnx as rnnx
from resfuse.models.architectures import ARCHITECTURES, Architecture
from sampling import long_but, some

PARAMETERS = {  # timm's
    "ResNet18D": 11_708_744,
    "ResNet34D": 21_816_904,
    "ResNet50D": 25_576_264,
    "ResNet101D": 44_568_392,
    "ResNet152D": 60_212_040,
    "SEResNet50": 28_088_024,
    "SEResNeXt50_32x4d": 27_559_896,
    "ECAResNet50D": 25_576_350,
    "ECAResNet50T": 25_573_814,
    "ECAResNet101D": 44_568_563,
}
QUICK = ("ResNet18D", "ECAResNet50T")

# What ``ResNet`` of timm 1.0.31 gives, in float64, with the weights of ``torch_weights`` and one
# image of 41x42; the skips that take means meet odd rows and columns.
SIZE = (41, 42)
TINY = {
    "D": Architecture("basic", (1, 1, 1, 1), features=16, stem="deep", average_skip=True),
    "ECA": Architecture(
        "bottleneck",
        (2, 1, 1, 1),
        features=16,
        stem="tiered",
        average_skip=True,
        attention="eca",
    ),
    "SE": Architecture("basic", (1, 1, 1, 1), attention="se"),
}
LOGITS = {
    "D": [-1.7993964, 0.57739722, -0.82987374, -0.16563397, 0.26566257],
    "ECA": [-0.12420649, 1.53503914, -0.62873033, 0.26707751, 0.27198723],
    "SE": [-0.13489537, 0.42768477, -1.85995377, 0.46035247, -0.50944642],
}


@pytest.mark.parametrize(
    "name",
    long_but(QUICK, PARAMETERS),
)
def test_parameter_counts_are_those_of_timm(name):
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(getattr(linen, name)().init, agreement.key(0), x)
    model = network_case.abstract(rnnx.ResNet, ARCHITECTURES[name])
    for params in (variables["params"], nnx.state(model, nnx.Param)):
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "implementation"),
    long_but([("D", None), ("ECA", "xla")], itertools.product(TINY, [None, "xla"])),
)
def test_nnx_agrees_with_timm(name, implementation):
    model = network_case.abstract(rnnx.ResNet, TINY[name], 5, implementation=implementation)
    network_case.assert_torch_logits(model, "timm", LOGITS[name], SIZE)


@pytest.mark.parametrize(
    ("name", "implementation"),
    long_but([("SE", None)], itertools.product(TINY, [None, "xla"])),
)
def test_linen_agrees_with_timm(name, implementation):
    model, x = linen.ResNet(TINY[name], 5, implementation=implementation), (1, *SIZE, 3)
    shapes = jax.eval_shape(model.init, agreement.key(0), jax.ShapeDtypeStruct(x, jnp.float32))
    variables = {kind: torch_weights.fill(tree, str) for kind, tree in shapes.items()}
    run = jax.jit(functools.partial(model.apply, use_running_average=True))
    agreement.assert_near(run(variables, torch_weights.image(*x))[0], np.asarray(LOGITS[name]))


@pytest.mark.parametrize("name", some(1, ["SE", "ECA"]))
def test_linen_trains_as_nnx(name):
    """From the same variables to the same statistics."""
    x = agreement.images(2, *SIZE, 3)
    module = linen.ResNet(TINY[name], 5)
    shapes = jax.eval_shape(module.init, agreement.key(0), x)
    variables = {kind: torch_weights.fill(tree, str) for kind, tree in shapes.items()}
    _, after = jax.jit(functools.partial(module.apply, mutable=["batch_stats"]))(variables, x)

    graph, state = nnx.split(network_case.abstract(rnnx.ResNet, TINY[name], 5))
    nnx.replace_by_pure_dict(state, torch_weights.fill(nnx.to_pure_dict(state), str))
    model = nnx.merge(graph, state)
    nnx.jit(lambda model, x: model(x, use_running_average=False))(model, x)
    statistics = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
    theirs = {
        str(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(after["batch_stats"])
    }
    ours = {
        str(tuple(jax.tree_util.DictKey(str(part.key)) for part in path)): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(statistics)
    }
    agreement.assert_near(ours, theirs)


def test_wrong_architectures():
    with pytest.raises(ValueError, match=r'"plain", "deep" or "tiered", got .wide.'):
        Architecture("basic", (1,), stem="wide")
    with pytest.raises(ValueError, match=r'must be None, "se" or "eca", got .cbam.'):
        Architecture("basic", (1,), attention="cbam")
    dilated = functools.partial(rnnx.ResNet50D, replace_stride_with_dilation=(False, False, True))
    with pytest.raises(ValueError, match="average_skip does not dilate"):
        dilated(rngs=nnx.Rngs(0))
