"""The ResNets of both APIs against torchvision's arithmetic and against plain Flax."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import agreement
import textbook_torchvision
import torchvision_names
from agreement import images
from resfuse import linen, ops
from resfuse import nnx as rnnx
from resfuse.linen import Architecture
from sampling import long_but

BASIC = Architecture("basic", (1, 1), features=8)
BOTTLENECK = Architecture("bottleneck", (2, 1), features=4)
RESNEXT = Architecture("bottleneck", (1, 1), groups=4, width_per_group=32, features=8)
DILATED = Architecture("bottleneck", (1, 1, 2), features=4)
MODELS = {
    "basic": (BASIC, {}),
    "bottleneck": (BOTTLENECK, {}),
    "resnext": (RESNEXT, {"cifar_stem": True}),
    "dilated": (DILATED, {"replace_stride_with_dilation": (True, True)}),
}


PARAMETERS = {
    "ResNet18": 11_689_512,
    "ResNet34": 21_797_672,
    "ResNet50": 25_557_032,
    "ResNet101": 44_549_160,
    "ResNet152": 60_192_808,
    "WideResNet50_2": 68_883_240,
    "WideResNet101_2": 126_886_696,
    "ResNeXt50_32x4d": 25_028_904,
    "ResNeXt101_32x8d": 88_791_336,
    "ResNeXt101_64x4d": 83_455_272,
}


class Linen:
    def __init__(self, name, implementation=None, **options):
        architecture, settings = MODELS[name]
        settings = settings | {"num_classes": 5} | options
        self.model = linen.ResNet(architecture, **settings, implementation=implementation)

    def shapes(self):
        x = jax.ShapeDtypeStruct((2, 18, 15, 3), jnp.float32)
        return jax.eval_shape(self.model.init, agreement.key(0), x)

    def run(self, average, variables, x):
        """The logits, and the statistics after it."""
        return self.model.apply(variables, x, average, mutable=["batch_stats"])

    def features(self, variables, x):
        return self.model.apply(variables, x, True, method="features")


class NNX:
    def __init__(self, name, implementation=None, **options):
        architecture, settings = MODELS[name]
        settings = settings | {"num_classes": 5} | options
        make = functools.partial(rnnx.ResNet, architecture, **settings)
        make = functools.partial(make, implementation=implementation)
        self.graph, self.state = nnx.split(nnx.eval_shape(lambda: make(rngs=agreement.same_key())))

    def shapes(self):
        return self.state

    def run(self, average, state, x):
        """The logits, and the statistics after it."""
        model = nnx.merge(self.graph, nnx.State(state), copy=True)
        logits = model(x, average)
        return logits, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    def features(self, state, x):
        return nnx.merge(self.graph, nnx.State(state), copy=True).features(x, True)


APIS = [Linen, NNX]


@functools.cache
def weights(name):
    """A state dict of torchvision's in which every value counts in the output."""
    return torchvision_names.export(agreement.filled(Linen(name).shapes()))


@functools.cache
def expected(name):
    """What torchvision makes of an input, in float32 and float64: the stages and the logits."""
    architecture, options = MODELS[name]
    dilate = options.get("replace_stride_with_dilation")
    stem = options.get("cifar_stem", False)

    @jax.jit
    def run(weights, x):
        model = textbook_torchvision.ResNet(weights)
        x = x.transpose(0, 3, 1, 2)
        block, depths, groups = architecture.block, architecture.depths, architecture.groups
        *maps, logits = model(x, block, depths, groups, dilate, stem)
        return [*(y.transpose(0, 2, 3, 1) for y in maps), logits]

    x = images(2, 18, 15, 3)
    return x, run(weights(name), x), agreement.in_float64(run, weights(name), x)


@functools.cache
def trained(api, name, implementation):
    """Logits and statistics after training, these under torchvision's names; and in float64."""
    model = api(name, implementation)
    variables = torchvision_names.load(model.shapes(), weights(name))

    def named(results):
        logits, statistics = results
        return logits, torchvision_names.export(statistics)

    x = images(4, 18, 15, 3)
    run = jax.jit(functools.partial(model.run, False))
    exact = agreement.in_float64(run, variables, x) if implementation == "xla" else None
    return named(run(variables, x)), exact and named(exact)


QUICK = ("ResNet18", "ResNet50", "ResNeXt50_32x4d")


@pytest.mark.parametrize(
    "model",
    long_but(QUICK, PARAMETERS),
)
def test_parameter_counts_are_those_of_torchvision(model):
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(getattr(linen, model)().init, agreement.key(0), x)
    state = jax.eval_shape(lambda: nnx.state(getattr(rnnx, model)(rngs=agreement.same_key())))
    for params in (variables["params"], nnx.filter_state(state, nnx.Param)):
        assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS[model]
    assert torchvision_names.shapes(variables) == torchvision_names.shapes(state)


@pytest.mark.parametrize(
    ("api", "name", "implementation"),
    long_but(
        [
            (Linen, "basic", "xla"),
            (Linen, "dilated", None),
            (NNX, "bottleneck", None),
            (NNX, "resnext", None),
        ],
        itertools.product(APIS, MODELS, [None, "xla"]),
    ),
)
def test_agrees_with_torchvision(api, name, implementation):
    model = api(name, implementation)
    variables = torchvision_names.load(model.shapes(), weights(name))
    x, theirs, exact = expected(name)

    @jax.jit
    def ours(variables, x):
        return [*model.features(variables, x), model.run(True, variables, x)[0]]

    agreement.assert_as_accurate(ours(variables, x), theirs, exact)


@pytest.mark.parametrize(
    ("api", "name"),
    long_but(
        [(Linen, "basic"), (NNX, "bottleneck")],
        itertools.product(APIS, ["basic", "bottleneck", "resnext"]),
    ),
)
def test_trains_as_flax(api, name):
    theirs, exact = trained(Linen, name, "xla")
    ours, _ = trained(api, name, None)
    agreement.assert_as_accurate(ours, theirs, exact)


def test_momentum_is_that_of_torchvision():
    (_, after), _ = trained(Linen, "basic", "xla")
    before = weights("basic")
    x = images(4, 18, 15, 3).transpose(0, 3, 1, 2)
    y = textbook_torchvision.ResNet(before).conv("conv1", x, 2, 3)
    mean = 0.9 * before["bn1.running_mean"] + 0.1 * y.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(after["bn1.running_mean"], mean, atol=1e-5)


@pytest.mark.parametrize("api", APIS)
def test_one_image_without_a_batch_axis(api):
    model = api("basic")
    variables = torchvision_names.load(model.shapes(), weights("basic"))
    x, theirs, exact = expected("basic")
    ours = [*model.features(variables, x[0]), model.run(True, variables, x[0])[0]]
    first = ([y[0] for y in outputs] for outputs in (theirs, exact))
    agreement.assert_as_accurate(ours, *first)


@pytest.mark.parametrize(
    ("name", "average", "calls"),
    [
        ("basic", True, ["conv_bn_act"] * 6),
        ("basic", False, ["train_layer"] * 6),
        ("dilated", True, ["conv_bn_act"] * 16),
    ],
)
@pytest.mark.parametrize("api", APIS)
def test_the_op_runs_every_layer_that_it_can_express(monkeypatch, api, name, average, calls):
    model = api(name)
    shapes = model.shapes()
    called = agreement.record_calls(monkeypatch, ops, "conv_bn_act", "train_layer")
    jax.eval_shape(functools.partial(model.run, average), shapes, images(2, 18, 15, 3))
    assert called == calls
