"""Small networks whose convolutions are dilated, transposed, in one dimension or in three.

Each is ``(apply, weights, x)`` with ``apply(weights, x)``, as its library's users write them.
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


class UNet(linen.Module):
    """Down by strides, up by transposed convolutions, with skip connections (Ronneberger 2015)."""

    @linen.compact
    def __call__(self, x):
        skips = []
        for width in (4, 6):
            skips.append(linen.relu(linen.Conv(width, (3, 3))(x)))
            x = linen.relu(linen.Conv(width, (3, 3), strides=2)(skips[-1]))
        for window, skip in ((2, skips[1]), (4, skips[0])):
            x = linen.ConvTranspose(4, (window, window), strides=(2, 2))(x)
            x = jnp.concatenate([linen.relu(x), skip], -1)
            x = linen.relu(linen.Conv(5, (3, 3))(x))
        return linen.Conv(2, (1, 1))(x)


class DeepLabHead(linen.Module):
    """Atrous spatial pyramid pooling (Chen et al. 2017)."""

    @linen.compact
    def __call__(self, x):
        def conv_bn(x, size, rate=1):
            x = linen.Conv(4, (size, size), kernel_dilation=rate, use_bias=False)(x)
            return linen.relu(linen.BatchNorm(use_running_average=True)(x))

        mean = conv_bn(x.mean((1, 2), keepdims=True), 1)
        branches = [conv_bn(x, 1), *(conv_bn(x, 3, rate) for rate in (6, 12, 18))]
        branches.append(jnp.broadcast_to(mean, branches[0].shape))
        return linen.Conv(3, (1, 1))(conv_bn(jnp.concatenate(branches, -1), 1))


class WhisperStem(linen.Module):
    """Two convolutions over mel spectrograms (Radford et al. 2022)."""

    @linen.compact
    def __call__(self, x):
        x = linen.gelu(linen.Conv(6, (3,), padding=1)(x), approximate=False)
        return linen.gelu(linen.Conv(6, (3,), strides=2, padding=1)(x), approximate=False)


def in_linen(module, x):
    model = module()
    return model.apply, agreement.filled(jax.eval_shape(model.init, agreement.key(0), x)), x


class WaveNet(nnx.Module):
    """Causal, dilated, gated layers with residual and skip connections (van den Oord 2016)."""

    def __init__(self, rngs):
        def conv(size, inputs, outputs, **settings):
            return nnx.Conv(inputs, outputs, (size,), padding="CAUSAL", rngs=rngs, **settings)

        rates = [1, 2, 4, 8]
        self.first = conv(2, 1, 4)
        self.gated = nnx.List([conv(2, 4, 8, kernel_dilation=rate) for rate in rates])
        self.skips = nnx.List([conv(1, 4, 8) for _ in rates])
        self.last = conv(1, 4, 3)

    def __call__(self, x):
        x, total = self.first(x), 0
        for gated, skip in zip(self.gated, self.skips, strict=True):
            filtered, gate = jnp.split(gated(x), 2, -1)
            y, more = jnp.split(skip(jnp.tanh(filtered) * jax.nn.sigmoid(gate)), 2, -1)
            x, total = x + y, total + more
        return self.last(jax.nn.relu(total))


def wavenet():
    graph, shapes = nnx.split(nnx.eval_shape(lambda: WaveNet(agreement.same_key())))

    def apply(state, x):
        return nnx.merge(graph, state, copy=True)(x)

    return apply, agreement.filled(shapes), agreement.images(2, 20, 1)


class VideoNet(eqx.Module):
    """A stem and a block of a 3-D ResNet (Tran et al. 2018), with channels first."""

    stem: eqx.nn.Conv3d
    first: eqx.nn.Conv3d
    second: eqx.nn.Conv3d
    shortcut: eqx.nn.Conv3d

    def __init__(self, key):
        conv = functools.partial(eqx.nn.Conv3d, key=key)
        self.stem = conv(3, 4, (3, 7, 7), (1, 2, 2), (1, 3, 3))
        self.first = conv(4, 6, 3, 2, 1)
        self.second = conv(6, 6, 3, 1, 1, use_bias=False)
        self.shortcut = conv(4, 6, 1, 2)

    def __call__(self, x):
        x = jax.nn.relu(self.stem(x))
        y = self.second(jax.nn.relu(self.first(x)))
        return jax.nn.relu(y + self.shortcut(x)).mean((1, 2, 3))


def video_net():
    weights, rest = eqx.partition(VideoNet(agreement.key(0)), eqx.is_inexact_array)

    def apply(weights, x):
        return jax.vmap(eqx.combine(weights, rest))(x)

    return apply, agreement.filled(weights), agreement.images(2, 3, 4, 10, 9)


def generator():
    """Noise to images by transposed convolutions (Radford et al. 2015)."""

    def network(z):
        x = jax.nn.relu(hk.Reshape((2, 2, 6))(hk.Linear(24)(z)))
        x = jax.nn.relu(hk.Conv2DTranspose(5, 4, 2)(x))
        x = jax.nn.relu(hk.Conv2DTranspose(4, 5, 3, padding="VALID")(x))
        return jnp.tanh(hk.Conv2DTranspose(3, 4, 2)(x))

    model, z = hk.without_apply_rng(hk.transform(network)), agreement.images(2, 7)
    return model.apply, agreement.filled(jax.eval_shape(model.init, agreement.key(0), z)), z


def padded():
    """Padding and cropping layers, a dilated depthwise convolution, and a transposed one."""

    def make(dtype):
        inputs = keras.Input((9, 8, 3), dtype=dtype)
        layers = [
            keras.layers.ZeroPadding2D(((1, 2), (0, 1)), dtype=dtype),
            keras.layers.Conv2D(4, 3, 2, activation="relu", dtype=dtype),
            keras.layers.ZeroPadding2D(2, dtype=dtype),
            keras.layers.DepthwiseConv2D(3, dilation_rate=2, dtype=dtype),
            keras.layers.Conv2DTranspose(5, 4, 2, padding="same", dtype=dtype),
            keras.layers.Cropping2D(1, dtype=dtype),
        ]
        return keras.Model(inputs, functools.reduce(lambda y, layer: layer(y), layers, inputs))

    models = {"float32": make("float32")}

    def apply(weights, x):
        name = str(x.dtype)
        if name not in models:
            models[name] = make(name)
        return models[name].stateless_call(weights, [], x)[0]

    variables = models["float32"].trainable_variables
    shapes = [jax.ShapeDtypeStruct(v.shape, "float32") for v in variables]
    return apply, agreement.filled(shapes), agreement.images(2, 9, 8, 3)


MAKERS = {
    "U-Net": lambda: in_linen(UNet, agreement.images(2, 8, 12, 3)),
    "DeepLab head": lambda: in_linen(DeepLabHead, agreement.images(2, 9, 8, 5)),
    "Whisper stem": lambda: in_linen(WhisperStem, agreement.images(2, 15, 5)),
    "WaveNet": wavenet,
    "3-D ResNet": video_net,
    "DCGAN generator": generator,
    "padding layers": padded,
}
CONVOLUTIONS = {
    "U-Net": 9, "DeepLab head": 7, "Whisper stem": 2, "WaveNet": 10, "3-D ResNet": 4,
    "DCGAN generator": 3, "padding layers": 3,
}  # fmt: skip
DENSE_LAYERS = {"DCGAN generator": 1}  # of those that have any


@functools.cache
@jax.numpy_dtype_promotion("standard")
def network(name):
    """``(apply, weights, x)``; the promotion of dtypes is that which the libraries expect."""
    apply, weights, x = MAKERS[name]()
    return jax.numpy_dtype_promotion("standard")(apply), weights, x
