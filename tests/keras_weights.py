"""Networks of ``keras.applications`` beside ours, with the same weights."""

import os

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

import functools
import warnings

import jax
import numpy as np
from flax import nnx

import agreement

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its imports warn of what they are about to change
    import keras

CLASSES = 5

# Of each of our layers the variables in the order in which Keras lists them.
VARIABLES = {
    nnx.BatchNorm: ("scale", "bias", "mean", "var"),
    nnx.Conv: ("kernel", "bias"),
    nnx.LayerNorm: ("scale", "bias"),
    nnx.Linear: ("kernel", "bias"),
}


def paths(module, prefix=()):
    """Of what has variables, in the order in which it was made."""
    if type(module) in VARIABLES or isinstance(module, nnx.Param):
        yield prefix
    elif isinstance(module, nnx.List):
        for index, child in enumerate(module):
            yield from paths(child, (*prefix, index))
    elif isinstance(module, nnx.Module):
        for name, child in vars(module).items():
            yield from paths(child, (*prefix, name))


def variables(module, path):
    """The variables of one of our layers, in Keras' order."""
    for key in path:
        module = module[key] if isinstance(key, int) else getattr(module, key)
    if isinstance(module, nnx.Param):
        return [module]
    found = (getattr(module, name) for name in VARIABLES[type(module)])
    return [variable for variable in found if variable is not None]


def weighted(model):
    """The layers of a Keras model that have weights, but for its preprocessing."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from weighted(layer)
        elif layer.weights and not isinstance(layer, keras.layers.Normalization):
            yield layer


def same_weights(ours, order, theirs):
    """Gives both the same random values, as layers come in the same order in both.

    Where Keras has another shape (depthwise kernels, dense layers as convolutions) the values are
    the same in memory.
    """
    random = np.random.default_rng(0)
    for path, layer in zip(order, weighted(theirs), strict=True):
        for variable, weight in zip(variables(ours, path), layer.weights, strict=True):
            size = np.prod(variable.shape[:-1])
            value = (
                random.uniform(0.5, 1.5, variable.shape)
                if variable.ndim == 1
                else random.normal(0, size**-0.5, variable.shape)
            )
            variable.set_value(agreement.on_device(value))
            weight.assign(value.astype(np.float32).reshape(weight.shape))


def assert_same_logits(make, application, x, *, scale=1.0, rank=None, **options):
    """Of a network of ours and one of Keras, which takes images times ``scale``.

    ``rank`` of a path sorts our layers where they were not made in the order of Keras.
    """
    order = []

    def build():
        model = make(num_classes=CLASSES, rngs=agreement.same_key())
        order.extend(paths(model))
        return model

    # Without initial values, which take most of the time.
    with jax.numpy_dtype_promotion("standard"):
        with keras.StatelessScope(initialize_variables=False):
            theirs = getattr(keras.applications, application)(
                weights=None,
                classes=CLASSES,
                input_shape=x.shape[1:],
                classifier_activation=None,
                **options,
            )
        ours = nnx.eval_shape(build)
        ours.eval()
        order.sort(key=rank or (lambda _: 0))
        same_weights(ours, order, theirs)
        expected = jax.jit(functools.partial(theirs, training=False))(scale * x)
        agreement.assert_near(jax.jit(ours)(x), np.asarray(expected))
    keras.utils.clear_session()  # the next network would initialize this one's variables
