import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import agreement
import textbook_d2l
from agreement import IMPLEMENTATIONS, images, trained
from resfuse import d2l, ops
from sampling import some

SMALL = ((1, 64), (2, 4))
MODELS = {
    "residual": ("Residual", (4,)),
    "residual 1x1": ("Residual", (4, True)),
    "residual strides": ("Residual", (4, False, (2, 2))),
    "resnext": ("ResNeXtBlock", (4, 1, 0.5)),
    "resnext strides": ("ResNeXtBlock", (4, 2, 1, True, (2, 2))),
    "resnet": ("ResNet", (SMALL,)),
}
AGREEMENTS = [
    *some(4, ((name, training, "run") for name in MODELS for training in (False, True))),
    ("residual strides", True, "gradient"),
]


@pytest.fixture(autouse=True)
def standard_promotion():
    """The average pool of Flax divides by an integer."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def pair(name, training=True, implementation=None):
    """Ours, the book's, and an input."""
    model, args = MODELS[name]
    theirs = getattr(textbook_d2l, model)(*args, training=training)
    ours = getattr(d2l, model)(*args, training=training, implementation=implementation)
    return ours, theirs, images(2, 16, 16, 1) if model == "ResNet" else images(3, 6, 7, 4)


def run(model, variables, x):
    y, updates = model.apply(variables, x, mutable=["batch_stats"])
    return {"y": y, **updates}


def gradient(model, variables, x):
    """Of a loss in which all outputs weigh differently: in training mode their sum is constant."""

    def loss(params):
        y = run(model, variables | {"params": params}, x)["y"]
        return (y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum()

    return jax.grad(loss)(variables["params"])


FUNCTIONS = {"run": run, "gradient": gradient}


def compiled(function, model):
    """One program of variables and input: operation by operation, compiling takes far longer."""
    return jax.jit(functools.partial(FUNCTIONS[function], model))


@functools.cache
def expected(name, training, function):
    """Variables and input, and what the book makes of them in float32 and float64."""
    _, theirs, x = pair(name, training)
    variables = trained(theirs, x)
    plain = compiled(function, theirs)
    return variables, x, plain(variables, x), agreement.in_float64(plain, variables, x)


@pytest.mark.parametrize("name", ["resnext strides", "resnet"])
def test_variables_are_those_of_the_book(name):
    ours, theirs, x = pair(name)
    agreement.assert_identical(ours.init(agreement.key(7), x), theirs.init(agreement.key(7), x))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("name", "training", "function"), AGREEMENTS)
def test_agrees_with_the_book(name, training, function, implementation):
    variables, x, theirs, exact = expected(name, training, function)
    ours = compiled(function, pair(name, training, implementation)[0])(variables, x)
    if implementation == "xla":
        agreement.assert_identical(ours, theirs)
    agreement.assert_as_accurate(ours, theirs, exact)


def test_jit():
    variables, x, theirs, exact = expected("resnet", False, "run")
    ours = jax.jit(functools.partial(run, pair("resnet", False)[0]))(variables, x)
    agreement.assert_as_accurate(ours, theirs, exact)


def test_tree_of_resnet18():
    x = jax.ShapeDtypeStruct((1, 96, 96, 1), jnp.float32)
    variables = jax.eval_shape(d2l.ResNet18().init, agreement.key(0), x)
    assert jax.tree.structure(variables) == jax.tree.structure(
        jax.eval_shape(
            textbook_d2l.ResNet(((2, 64), (2, 128), (2, 256), (2, 512))).init, agreement.key(0), x
        )
    )
    net = variables["params"]["net"]
    assert net["layers_0"]["layers_0"]["kernel"].shape == (7, 7, 1, 64)
    assert set(net["layers_1"]["layers_0"]) == {"conv1", "conv2", "bn1", "bn2"}
    assert net["layers_2"]["layers_0"]["conv3"]["kernel"].shape == (1, 1, 64, 128)
    assert net["layers_5"]["layers_2"]["kernel"].shape == (512, 10)


@pytest.mark.parametrize(
    ("block", "shape"),
    [(d2l.Residual(3), (4, 6, 6, 3)), (d2l.ResNeXtBlock(32, 16, 1), (4, 96, 96, 32))],
)
def test_blocks_keep_the_shape(block, shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    y, _ = jax.eval_shape(block.init_with_output, agreement.key(0), x)
    assert y.shape == shape


def test_stage_shapes():
    def shapes(model, x):
        for layer in model.net.layers:
            x = layer(x)
            found.append(x.shape)

    found = []
    model, x = d2l.ResNet18(training=False), jax.ShapeDtypeStruct((1, 96, 96, 1), jnp.float32)
    variables = jax.eval_shape(model.init, agreement.key(0), x)
    jax.eval_shape(nn.apply(shapes, model), variables, x)
    stages = [(1, 24, 24, 64), (1, 24, 24, 64), (1, 12, 12, 128), (1, 6, 6, 256), (1, 3, 3, 512)]
    assert found == [*stages, (1, 10)]


# Counted by hand from torchvision's networks, which differ in two ways: the book's convolutions
# have biases (one for each batch norm channel of theirs), and in 18 and 34 its skips have no batch
# norm (two parameters for each of 128 + 256 + 512 channels). 50, 101 and 152 are then as in Keras.
@pytest.mark.parametrize(
    ("model", "count"),
    some(
        2,
        [
            ("ResNet18", 11_689_512 + 4_800 - 2 * 896),
            ("ResNet34", 21_797_672 + 8_512 - 2 * 896),
            ("ResNet50", 25_557_032 + 26_560),
            ("ResNet101", 44_549_160 + 52_672),
            ("ResNet152", 60_192_808 + 75_712),
        ],
    ),
)
def test_parameter_counts(model, count):
    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    init = getattr(d2l, model)(num_classes=1000).init_with_output
    logits, variables = jax.eval_shape(init, agreement.key(0), x)
    assert logits.shape == (1, 1000)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count


@pytest.mark.parametrize("block", [d2l.Residual(4), d2l.ResNeXtBlock(4, 1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_skip_that_does_not_match_names_both_counts(block, channels, implementation):
    x = images(2, 6, 6, channels)
    with pytest.raises(ValueError, match=f"{channels} channels.* gives 4.*use_1x1conv"):
        jax.eval_shape(block.clone(implementation=implementation).init, agreement.key(0), x)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("bias", [0.0, -1.0])
@pytest.mark.parametrize(("name", "last"), [("residual", "bn2"), ("resnext", "bn3")])
def test_skip_is_added_before_the_last_relu(name, last, bias, implementation):
    block, theirs, x = pair(name, False, implementation)
    variables = trained(theirs, x)
    width = x.shape[-1]
    variables["params"][last] = {"scale": jnp.zeros(width), "bias": jnp.full(width, bias)}
    np.testing.assert_allclose(block.apply(variables, x), nn.relu(x + bias), atol=1e-6)


def test_resnet_pools_over_pixels_only():
    variables, x, theirs, _ = expected("resnet", False, "run")
    assert theirs["y"].shape == (2, 10)
    alone = pair("resnet", False)[0].apply(variables, x[1:])
    np.testing.assert_allclose(alone, theirs["y"][1:], rtol=1e-4)


@pytest.mark.parametrize(("training", "layers"), [(False, "conv_bn_act"), (True, "train_layer")])
def test_the_op_runs_every_convolution(monkeypatch, training, layers):
    model, theirs, x = pair("residual strides", training)
    variables = trained(theirs, x)
    called = agreement.record_calls(monkeypatch, ops, "conv_bn_act", "train_layer")
    run(model, variables, x)
    assert called == ["conv_bn_act", layers, layers]  # the skip, conv1, conv2


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_training_without_mutable_is_flax_own_error(implementation):
    model, theirs, x = pair("residual", True, implementation)
    with pytest.raises(flax.errors.ModifyScopeVariableError):
        model.apply(trained(theirs, x), x)


@pytest.mark.parametrize("name", ["residual", "resnext", "resnet"])
def test_unknown_implementation(name):
    model, _, x = pair(name, True, "cuda")
    with pytest.raises(ValueError, match=r'must be None, "ffi" or "xla", got .cuda.'):
        jax.eval_shape(model.init, agreement.key(0), x)
