"""A convolution and a batch norm of Flax NNX as one op."""

import jax
from flax import nnx
from jax import Array

from resfuse.models import layer
from resfuse.models.support import Weights

__all__ = ["conv_bn_relu"]


def conv_bn_relu(
    conv: nnx.Conv,
    bn: nnx.BatchNorm,
    x: Array,
    *,
    residual: Array | None = None,
    relu: bool = True,
    use_running_average: bool | None = None,
    implementation: str | None = None,
) -> Array:
    """``relu(bn(conv(x)) + residual)`` as one op.

    The result and the update of the running statistics, in place, are those of calling the two
    modules. That is what happens with ``implementation="xla"``, and for settings that the op
    cannot express (dilation, masks, circular padding, ``axis_name`` in training, computation in
    another dtype than float32).

    Args:
        conv: The convolution.
        bn: The batch norm, with as many features.
        x: The input, ``(B, H, W, Cin)`` or ``(H, W, Cin)``. Its dtype is promoted as Flax does.
        residual: Added before the ReLU, of the shape of the output.
        relu: Whether a ReLU ends the layer.
        use_running_average: ``None`` leaves it to ``bn`` (``model.train()``, ``model.eval()``).
        implementation: ``None`` (the kernel where it runs), ``"ffi"`` or ``"xla"`` (plain Flax).

    Returns:
        The output, ``(B, Ho, Wo, Cout)`` or ``(Ho, Wo, Cout)``.

    Raises:
        ValueError: For an unknown ``implementation``, or where ``"ffi"`` meets a setting that the
            op cannot express.

    Example:
        >>> rngs = nnx.Rngs(0)
        >>> conv, bn = nnx.Conv(3, 64, (7, 7), strides=2, rngs=rngs), nnx.BatchNorm(64, rngs=rngs)
        >>> conv_bn_relu(conv, bn, jax.numpy.ones((1, 32, 32, 3))).shape
        (1, 16, 16, 64)
    """
    average = bn.use_running_average if use_running_average is None else use_running_average
    fused = layer.run(
        conv,
        bn,
        None if average is None else _weights(conv, bn),  # Flax says that no mode is set.
        x,
        residual,
        relu=relu,
        training=not average,
        implementation=implementation,
    )
    if fused is None:
        return layer.add_relu(bn(conv(x), use_running_average), residual, relu)
    y, mean, var = fused
    if not average:
        bn.mean[...] = jax.lax.stop_gradient(mean)
        bn.var[...] = jax.lax.stop_gradient(var)
    return y


def _weights(conv: nnx.Conv, bn: nnx.BatchNorm) -> Weights:
    return Weights(
        kernel=conv.kernel[...],
        conv_bias=None if conv.bias is None else conv.bias[...],
        scale=None if bn.scale is None else bn.scale[...],
        bias=None if bn.bias is None else bn.bias[...],
        mean=bn.mean[...],
        var=bn.var[...],
    )
