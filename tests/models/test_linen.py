import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import agreement
import textbook
from agreement import IMPLEMENTATIONS, images, trained
from resfuse import linen, ops
from sampling import some

BLOCKS = {
    "textbook": {},
    "strides": {"strides": 2, "use_bias": False, "project": True},
    "channels": {"strides": (1, 2), "epsilon": 0.5, "momentum": 0.7, "project": True},
    "one padding": {"padding": 1, "strides": 2, "project": True},
    "two paddings": {"padding": (1, 1)},
    "four paddings": {"padding": ((2, 0), (1, 1))},
    "lower case": {"padding": "same"},
}
BOTH_MODES = ["textbook", "strides", "channels", "classifier"]
RUNS = [
    *((name, False, "run") for name in BOTH_MODES),
    *((name, True, "run") for name in (*BLOCKS, "classifier")),
]
AGREEMENTS = [
    *some(4, RUNS),
    ("strides", False, "gradient"),
    pytest.param("strides", True, "gradient", marks=pytest.mark.long),
]


def pair(name, implementation=None):
    """Ours, the textbook's, and an input."""
    if name == "classifier":
        ours = linen.ResNetClassifier(10, implementation=implementation)
        return ours, textbook.ResNetClassifier(10, features=4), images(3, 6, 7, 4)
    settings = {"features": 4} | BLOCKS[name]
    theirs = textbook.BasicBlock(**settings)
    settings.pop("project", None)
    ours = linen.BasicBlock(**settings, implementation=implementation)
    return ours, theirs, images(3, 6, 7, 3 if name == "channels" else 4)


def run(model, average, variables, x):
    y, updates = model.apply(variables, x, average, mutable=["batch_stats"])
    return {"y": y, **updates}


def gradient(model, average, variables, x):
    """Of a loss in which all outputs weigh differently: in training mode their sum is constant."""

    def loss(params):
        y = run(model, average, variables | {"params": params}, x)["y"]
        return (y * jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum()

    return jax.grad(loss)(variables["params"])


FUNCTIONS = {"run": run, "gradient": gradient}


def compiled(function, model, average):
    """One program of variables and input: operation by operation, compiling takes far longer."""
    return jax.jit(functools.partial(FUNCTIONS[function], model, average))


@functools.cache
def expected(name, average, function):
    """Variables and input, and what the textbook makes of them in float32 and float64."""
    _, theirs, x = pair(name)
    variables = trained(theirs, x)
    plain = compiled(function, theirs, average)
    return variables, x, plain(variables, x), agreement.in_float64(plain, variables, x)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", ["textbook", "strides", "classifier"])
def test_variables_are_those_of_flax(name, implementation):
    ours, theirs, x = pair(name, implementation)
    agreement.assert_identical(ours.init(agreement.key(7), x), theirs.init(agreement.key(7), x))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("name", "average", "function"), AGREEMENTS)
def test_agrees_with_flax(name, average, function, implementation):
    variables, x, theirs, exact = expected(name, average, function)
    ours = compiled(function, pair(name, implementation)[0], average)(variables, x)
    if implementation == "xla":
        agreement.assert_identical(ours, theirs)
    agreement.assert_as_accurate(ours, theirs, exact)


@pytest.mark.parametrize("average", [False, True])
def test_operation_by_operation(average):
    variables, x, theirs, exact = expected("classifier", average, "run")
    ours = run(pair("classifier")[0], average, variables, x)
    agreement.assert_as_accurate(ours, theirs, exact)


def test_checkpoints_go_in_and_out():
    ours, theirs, x = pair("classifier")
    variables = trained(theirs, x)
    loaded = flax.serialization.from_bytes(
        ours.init(agreement.key(1), x), flax.serialization.to_bytes(variables)
    )
    back = flax.serialization.from_bytes(
        theirs.init(agreement.key(2), x), flax.serialization.to_bytes(loaded)
    )
    agreement.assert_identical(loaded, variables)
    agreement.assert_identical(back, variables)


@pytest.mark.parametrize(
    ("implementation", "average", "calls"),
    [
        (None, True, ["conv_bn_act"] * 2),
        (None, False, ["train_layer"] * 2),
        ("xla", True, []),
    ],
)
def test_the_op_runs_unless_xla_is_asked_for(monkeypatch, implementation, average, calls):
    block, theirs, x = pair("textbook", implementation)
    called = agreement.record_calls(monkeypatch, ops, "conv_bn_act", "train_layer")
    run(block, average, trained(theirs, x), x)
    assert called == calls


def test_forward_functions_take_floats():
    x = images(6, 7, 4)
    y = linen.resnet_basic_forward(3.0, x, 4.0)
    block, batch = textbook.BasicBlock(4), x[None]
    theirs = run(block, False, block.init(jax.random.PRNGKey(3), batch), batch)["y"]
    np.testing.assert_allclose(y, theirs.reshape(-1), atol=1e-5)
    logits = linen.resnet_classifier_forward(3.0, x, 10.0)
    model = textbook.ResNetClassifier(10, features=4)
    theirs = run(model, False, model.init(jax.random.PRNGKey(3), batch), batch)["y"]
    np.testing.assert_allclose(logits, theirs[0], atol=1e-5)


@pytest.mark.parametrize("function", [linen.resnet_basic_forward])
def test_forward_of_the_wrong_width_names_both_counts(function):
    with pytest.raises(ValueError, match=r"3 channels.* gives 4"):
        function(0, images(6, 7, 3), 4)


def test_classifier_pools_over_pixels_only():
    variables, x, theirs, _ = expected("classifier", True, "run")
    alone = run(pair("classifier")[0], True, variables, x[1:2])["y"]
    assert theirs["y"].shape == (3, 10)
    np.testing.assert_allclose(alone, theirs["y"][1:2], rtol=1e-4)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("bias", [0.0, -1.0])
def test_skip_is_added_before_the_last_relu(bias, implementation):
    block, theirs, x = pair("textbook", implementation)
    variables = trained(theirs, x)
    variables["params"]["BatchNorm_1"] = {"scale": jnp.zeros(4), "bias": jnp.full(4, bias)}
    y = run(block, True, variables, x)["y"]
    np.testing.assert_allclose(y, nn.relu(x + bias), atol=1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_training_without_mutable_is_flax_own_error(implementation):
    block, theirs, x = pair("textbook", implementation)
    with pytest.raises(flax.errors.ModifyScopeVariableError):
        block.apply(trained(theirs, x), x)


@pytest.mark.parametrize("call", ["init", "apply"])
def test_unknown_implementation(call):
    block, theirs, x = pair("textbook", "cuda")
    first = agreement.key(0) if call == "init" else trained(theirs, x)
    with pytest.raises(ValueError, match=r'must be None, "ffi" or "xla", got .cuda.'):
        getattr(block, call)(first, x)


@pytest.mark.parametrize("damage", ["missing", "wider"])
@pytest.mark.parametrize(
    "path", [("Conv_0", "kernel"), ("Conv_1", "bias"), ("BatchNorm_0", "bias")]
)
def test_wrong_checkpoint_is_flax_own_error(path, damage):
    block, theirs, x = pair("textbook")
    variables = trained(theirs, x)
    leaf = variables["params"][path[0]].pop(path[1])
    if damage == "wider":
        variables["params"][path[0]][path[1]] = jnp.concatenate([leaf, leaf], axis=-1)
    with pytest.raises(flax.errors.FlaxError) as flax_error:
        theirs.apply(variables, x, True)
    with pytest.raises(type(flax_error.value)):
        block.apply(variables, x, True)
