import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import agreement
import textbook
from agreement import IMPLEMENTATIONS, images
from resfuse import nnx as rnnx
from resfuse import ops
from sampling import some

BLOCKS = {
    "textbook": {},
    "strides": {"strides": 2, "use_bias": False, "project": True},
    "channels": {
        "in_features": 3,
        "strides": [1, 2],
        "epsilon": 0.5,
        "momentum": 0.7,
        "project": True,
    },
    "padding": {"padding": (1, 1)},
}
AGREEMENTS = [
    *some(5, itertools.product((*BLOCKS, "classifier"), (False, True), ["run"])),
    ("strides", False, "gradient"),
]


def pair(name, implementation=None):
    """Makers of ours and of the textbook's, and an input."""
    if name == "classifier":
        settings = {"in_channels": 3, "features": 4, "num_classes": 10}
        ours, theirs = rnnx.ResNetClassifier, textbook.NNXResNetClassifier
    else:
        settings = {"features": 4} | BLOCKS[name]
        ours, theirs = rnnx.BasicBlock, textbook.NNXBasicBlock
    theirs = functools.partial(theirs, **settings)
    x = images(3, 6, 7, settings.get("in_channels") or settings.get("in_features") or 4)
    settings.pop("project", None)
    return functools.partial(ours, **settings, implementation=implementation), theirs, x


def make(model, seed=0):
    return model(rngs=nnx.Rngs(agreement.key(seed)))


def run(graph, average, state, x):
    """The output, and the state after it."""
    model = nnx.merge(graph, state, copy=True)
    y = model(x, use_running_average=average)
    return {"y": y, **nnx.to_pure_dict(nnx.state(model))}


def gradient(graph, average, state, x):
    """Of a loss in which all outputs weigh differently: in training mode their sum is constant."""

    def loss(model):
        y = model(x, use_running_average=average)
        return (y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum()

    return nnx.to_pure_dict(nnx.grad(loss)(nnx.merge(graph, state, copy=True)))


FUNCTIONS = {"run": run, "gradient": gradient}


def graph_and_state(model):
    """Without the cost of initial values."""
    graph, shapes = nnx.split(nnx.eval_shape(lambda: model(rngs=agreement.same_key())))
    return graph, agreement.filled(shapes)


@functools.cache
def expected(name, average, function):
    """State and input, and what the textbook makes of them in float32 and float64."""
    _, theirs, x = pair(name)
    graph, state = graph_and_state(theirs)
    plain = functools.partial(FUNCTIONS[function], graph, average)
    return state, x, plain(state, x), agreement.in_float64(plain, state, x)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", ["textbook", "strides", "classifier"])
def test_state_is_that_of_flax(name, implementation):
    ours, theirs, _ = pair(name, implementation)
    agreement.assert_identical(
        *(nnx.to_pure_dict(nnx.state(make(model, seed=7))) for model in (ours, theirs))
    )


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("name", "average", "function"), AGREEMENTS)
def test_agrees_with_flax(name, average, function, implementation):
    state, x, theirs, exact = expected(name, average, function)
    graph, _ = graph_and_state(pair(name, implementation)[0])
    ours = FUNCTIONS[function](graph, average, state, x)
    if implementation == "xla":
        agreement.assert_identical(ours, theirs)
    agreement.assert_as_accurate(ours, theirs, exact)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("name", ["textbook", "classifier"])
def test_unbatched(name, average):
    state, x, *_ = expected(name, average, "run")
    ours, theirs = (graph_and_state(model)[0] for model in pair(name)[:2])
    plain = functools.partial(run, theirs, average)
    exact = agreement.in_float64(plain, state, x[0])
    agreement.assert_as_accurate(run(ours, average, state, x[0]), plain(state, x[0]), exact)


def test_jit_updates_statistics_in_place():
    state, x, theirs, exact = expected("classifier", False, "run")
    model = nnx.merge(graph_and_state(pair("classifier")[0])[0], state, copy=True)
    y = nnx.jit(lambda model, x: model(x))(model, x)
    ours = {"y": y, **nnx.to_pure_dict(nnx.state(model))}
    agreement.assert_as_accurate(ours, theirs, exact)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("average", [False, True])
def test_train_and_eval_set_the_mode(average, implementation):
    state, x, theirs, _ = expected("textbook", average, "run")
    graph, _ = graph_and_state(pair("textbook", implementation)[0])
    model = nnx.merge(graph, state, copy=True)
    model.eval() if average else model.train()
    np.testing.assert_allclose(model(x), theirs["y"], atol=1e-5)
    assert jnp.array_equal(model.bn1.mean[...], state["bn1"]["mean"][...]) == average


def test_no_mode_is_flax_own_error():
    block = make(pair("textbook")[0])
    block.bn1.use_running_average = None
    with pytest.raises(ValueError, match="No `use_running_average` argument was provided"):
        block(images(6, 7, 4))


@pytest.mark.parametrize(
    ("implementation", "average", "calls"),
    [
        (None, True, ["conv_bn_act"] * 2),
        (None, False, ["train_layer"] * 2),
        ("xla", True, []),
    ],
)
def test_the_op_runs_unless_xla_is_asked_for(monkeypatch, implementation, average, calls):
    graph, state = graph_and_state(pair("textbook", implementation)[0])
    called = agreement.record_calls(monkeypatch, ops, "conv_bn_act", "train_layer")
    run(graph, average, state, images(3, 6, 7, 4))
    assert called == calls


@pytest.mark.parametrize("model", ["textbook", "classifier"])
def test_unknown_implementation(model):
    with pytest.raises(ValueError, match=r'must be None, "ffi" or "xla", got .cuda.'):
        make(pair(model, "cuda")[0])


def half_sum(*args, **kwargs):
    return jax.lax.conv_general_dilated(*args, **kwargs) / 2


LEFT_TO_FLAX = {
    "Conv.mask": ({"mask": np.eye(4, dtype="f4") * np.ones((3, 3, 4, 4), "f4")}, {}),
    "Conv.preferred_element_type": ({"preferred_element_type": jnp.float32}, {}),
    "Conv.conv_general_dilated": ({"conv_general_dilated": half_sum}, {}),
    "Conv.promote_dtype": ({"promote_dtype": lambda arrays, **_: arrays}, {}),
    "BatchNorm.axis": ({}, {"axis": -2}),
    "BatchNorm.use_fast_variance": ({}, {"use_fast_variance": False}),
}


@pytest.mark.parametrize("name", LEFT_TO_FLAX)
def test_what_the_op_cannot_express_is_left_to_flax(name):
    conv_settings, bn_settings = LEFT_TO_FLAX[name]
    rngs, x = nnx.Rngs(agreement.key(0)), images(3, 6, 4, 4)
    conv = nnx.Conv(4, 4, (3, 3), **conv_settings, rngs=rngs)
    bn = nnx.BatchNorm(4, **bn_settings, rngs=rngs)
    y = rnnx.conv_bn_relu(conv, bn, x)
    np.testing.assert_array_equal(y, nnx.relu(bn(conv(x))))
    with pytest.raises(ValueError, match=f"'ffi' does not support {name}"):
        rnnx.conv_bn_relu(conv, bn, x, implementation="ffi")


def test_forward_functions_take_floats():
    x = images(6, 7, 4)
    theirs = textbook.NNXBasicBlock(4, rngs=nnx.Rngs(3))(x)
    y = rnnx.resnet_basic_forward(3.0, x, 4.0)
    np.testing.assert_allclose(y, theirs.reshape(-1), atol=1e-5)
    theirs = textbook.NNXResNetClassifier(4, 4, 10, rngs=nnx.Rngs(3))(x)
    logits = rnnx.resnet_classifier_forward(3.0, x, 10.0)
    np.testing.assert_allclose(logits, theirs, atol=1e-5)


def test_forward_of_the_wrong_width_names_both_counts():
    with pytest.raises(ValueError, match=r"3 channels.* gives 4"):
        rnnx.resnet_basic_forward(0, images(6, 7, 3), 4)


def test_classifier_pools_over_pixels_only():
    state, x, theirs, _ = expected("classifier", True, "run")
    graph, _ = graph_and_state(pair("classifier")[0])
    assert theirs["y"].shape == (3, 10)
    alone = run(graph, True, state, x[1:2])["y"]
    np.testing.assert_allclose(alone, theirs["y"][1:2], rtol=1e-4)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("bias", [0.0, -1.0])
def test_skip_is_added_before_the_last_relu(bias, implementation):
    block, x = make(pair("textbook", implementation)[0]), images(6, 7, 4)
    block.bn2.scale[...] = jnp.zeros(4)
    block.bn2.bias[...] = jnp.full(4, bias)
    np.testing.assert_allclose(block(x), nnx.relu(x + bias), atol=1e-6)
