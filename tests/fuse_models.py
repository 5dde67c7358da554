"""One small residual network in five libraries: a stem, a max pool, and two basic blocks.

Each is ``apply(weights, x, training)``, with the statistics that training updates in its result.
"""

import os

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

import functools
import warnings

import jax
import jax.numpy as jnp
from flax import linen, nnx

import agreement

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # their imports warn of what they are about to change
    import equinox as eqx
    import haiku as hk
    import keras

WIDTH, CLASSES = 4, 5
CONVOLUTIONS = 1 + 2 + 3  # the second block has a projection


class LinenNetwork(linen.Module):
    @linen.compact
    def __call__(self, x, training):
        def conv_bn(x, width, size, strides):
            x = linen.Conv(width, (size, size), strides, use_bias=size > 1)(x)
            return linen.BatchNorm(use_running_average=not training)(x)

        x = linen.relu(conv_bn(x, WIDTH, 3, 1))
        x = linen.max_pool(x, (3, 3), (2, 2), "SAME")
        for width, strides in ((WIDTH, 1), (2 * WIDTH, 2)):
            y = linen.relu(conv_bn(x, width, 3, strides))
            y = conv_bn(y, width, 3, 1)
            x = x if strides == 1 else conv_bn(x, width, 1, strides)
            x = linen.relu(x + y)
        return linen.Dense(CLASSES)(x.mean((1, 2)))


def linen_network(x):
    model = LinenNetwork()
    shapes = jax.eval_shape(lambda key: model.init(key, x, False), agreement.key(0))

    def apply(variables, x, training):
        return model.apply(variables, x, training, mutable=["batch_stats"])

    return apply, agreement.filled(shapes)


class NNXBlock(nnx.Module):
    def __init__(self, inputs, width, rngs):
        strides = 1 if inputs == width else 2
        self.conv1 = nnx.Conv(inputs, width, (3, 3), strides, padding=1, rngs=rngs)
        self.bn1, self.bn2 = (nnx.BatchNorm(width, rngs=rngs) for _ in range(2))
        self.conv2 = nnx.Conv(width, width, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.projection = (
            nnx.Conv(inputs, width, (1, 1), strides, rngs=rngs) if strides > 1 else None
        )

    def __call__(self, x):
        y = self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x)))))
        return nnx.relu(y + (self.projection(x) if self.projection else x))


class NNXNetwork(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, WIDTH, (3, 3), rngs=rngs)
        self.bn = nnx.BatchNorm(WIDTH, rngs=rngs)
        self.blocks = nnx.List([NNXBlock(WIDTH, width, rngs) for width in (WIDTH, 2 * WIDTH)])
        self.dense = nnx.Linear(2 * WIDTH, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.bn(self.conv(x))), (3, 3), (2, 2), "SAME")
        for block in self.blocks:
            x = block(x)
        return self.dense(x.mean((1, 2)))


def nnx_network(x):
    del x
    graph, shapes = nnx.split(nnx.eval_shape(lambda: NNXNetwork(agreement.same_key())))

    def apply(state, x, training):
        model = nnx.merge(graph, state, copy=True)
        model.train() if training else model.eval()
        return model(x), nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    return apply, agreement.filled(shapes)


def haiku_network(x):
    def network(x, training):
        def conv_bn(x, width, size, stride):
            x = hk.Conv2D(width, size, stride)(x)
            return hk.BatchNorm(True, True, 0.9)(x, training)

        x = jax.nn.relu(conv_bn(x, WIDTH, 3, 1))
        x = hk.max_pool(x, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        for width, strides in ((WIDTH, 1), (2 * WIDTH, 2)):
            y = jax.nn.relu(conv_bn(x, width, 3, strides))
            y = conv_bn(y, width, 3, 1)
            x = jax.nn.relu(y + (x if strides == 1 else conv_bn(x, width, 1, strides)))
        return hk.Linear(CLASSES)(x.mean((1, 2)))

    model = hk.transform_with_state(network)
    shapes = jax.eval_shape(lambda key: model.init(key, x, True), agreement.key(0))

    def apply(weights, x, training):
        return model.apply(*weights, None, x, training)

    def per_channel(leaf):  # has the rank of a kernel here; and there is a counter of steps
        if leaf.shape == ():
            return jnp.full_like(leaf, 3)
        return abs(leaf) + 0.1 if leaf.ndim == 4 and leaf.shape[:3] == (1, 1, 1) else leaf

    return apply, jax.tree.map(per_channel, agreement.filled(shapes))


class EquinoxBlock(eqx.Module):
    conv1: eqx.nn.Conv2d
    bn1: eqx.nn.BatchNorm
    conv2: eqx.nn.Conv2d
    bn2: eqx.nn.BatchNorm
    projection: eqx.nn.Conv2d | None

    def __init__(self, inputs, width, key):
        conv, stride = functools.partial(eqx.nn.Conv2d, key=key), 1 if inputs == width else 2
        self.conv1 = conv(inputs, width, 3, stride, padding=1)
        self.conv2 = conv(width, width, 3, padding=1, use_bias=False)
        self.bn1, self.bn2 = (eqx.nn.BatchNorm(width, "batch", mode="ema") for _ in range(2))
        self.projection = conv(inputs, width, 1, stride) if stride > 1 else None

    def __call__(self, x, state):
        y, state = self.bn1(self.conv1(x), state)
        y, state = self.bn2(self.conv2(jax.nn.relu(y)), state)
        return jax.nn.relu(y + (self.projection(x) if self.projection else x)), state


class EquinoxNetwork(eqx.Module):
    conv: eqx.nn.Conv2d
    bn: eqx.nn.BatchNorm
    blocks: list[EquinoxBlock]
    dense: eqx.nn.Linear

    def __init__(self, key):
        self.conv = eqx.nn.Conv2d(3, WIDTH, 3, padding=1, key=key)
        self.bn = eqx.nn.BatchNorm(WIDTH, "batch", mode="ema")
        self.blocks = [EquinoxBlock(WIDTH, width, key) for width in (WIDTH, 2 * WIDTH)]
        self.dense = eqx.nn.Linear(2 * WIDTH, CLASSES, key=key)

    def __call__(self, x, state):
        x, state = self.bn(self.conv(x), state)
        x = eqx.nn.MaxPool2d(3, 2, padding=1)(jax.nn.relu(x))
        for block in self.blocks:
            x, state = block(x, state)
        return self.dense(x.mean((1, 2))), state


def equinox_network(x):
    """NCHW, one image at a time under ``vmap``; its first step, without running averages yet."""
    del x
    made = eqx.nn.make_with_state(EquinoxNetwork)(agreement.key(0))
    weights, rest = eqx.partition(made, eqx.is_inexact_array)

    def apply(weights, x, training):
        model, state = eqx.combine(weights, rest)
        model = eqx.nn.inference_mode(model, not training)
        images = jnp.moveaxis(x, -1, 1)
        y, state = jax.vmap(model, (0, None), (0, None), axis_name="batch")(images, state)
        return y, jax.tree.leaves(eqx.filter(state, eqx.is_inexact_array))

    return apply, agreement.filled(weights)


def keras_network(x):
    def make(dtype):
        layers = keras.layers

        def conv_bn(x, width, size, strides):
            x = layers.Conv2D(width, size, strides, padding="same", dtype=dtype)(x)
            return layers.BatchNormalization(dtype=dtype)(x)

        inputs = keras.Input(x.shape[1:], dtype=dtype)
        y = layers.ReLU(dtype=dtype)(conv_bn(inputs, WIDTH, 3, 1))
        y = layers.MaxPooling2D(3, 2, padding="same", dtype=dtype)(y)
        for width, strides in ((WIDTH, 1), (2 * WIDTH, 2)):
            z = layers.ReLU(dtype=dtype)(conv_bn(y, width, 3, strides))
            z = conv_bn(z, width, 3, 1)
            y = y if strides == 1 else conv_bn(y, width, 1, strides)
            y = layers.ReLU(dtype=dtype)(layers.Add(dtype=dtype)([z, y]))
        y = layers.GlobalAveragePooling2D(dtype=dtype)(y)
        return keras.Model(inputs, layers.Dense(CLASSES, dtype=dtype)(y))

    models = {"float32": make("float32")}

    def apply(weights, x, training):
        name = str(x.dtype)
        if name not in models:
            models[name] = make(name)
        return models[name].stateless_call(*weights, x, training=training)

    model = models["float32"]
    shapes = [
        [jax.ShapeDtypeStruct(v.shape, "float32") for v in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    return apply, agreement.filled(shapes)


LIBRARIES = {
    "linen": linen_network,
    "nnx": nnx_network,
    "haiku": haiku_network,
    "equinox": equinox_network,
    "keras": keras_network,
}


@functools.cache
@jax.numpy_dtype_promotion("standard")
def network(library):
    """``(apply, weights, x)``; the promotion of dtypes is that which the libraries expect."""
    x = agreement.images(2, 8, 10, 3)
    apply, weights = LIBRARIES[library](x)
    return jax.numpy_dtype_promotion("standard")(apply), weights, x
