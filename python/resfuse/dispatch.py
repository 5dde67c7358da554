"""A checked call of the op, sent to the kernel or to the reference."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from resfuse import reference
from resfuse.arguments import Activation, as_array, check_implementation, common_dtype
from resfuse.jax_compat import default_platform, naming_forward_mode
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.batch_norm import Ending
from resfuse.kernel.conv import unsupported
from resfuse.kernel.derivatives import FORWARD_MODE
from resfuse.kernel.elementwise import IN_PRIMITIVES, NotElementwiseError, trace_elementwise
from resfuse.kernel.epilogue import (
    ADD,
    ADD_RELU,
    IDENTITY,
    RELU,
    Epilogue,
    Gate,
    Kind,
    activation_epilogue,
    gate_of,
)
from resfuse.kernel.origin import Made, Origin
from resfuse.kernel.silu import SILU
from resfuse.kernel.train import train_on_cpu
from resfuse.purpose import Purpose, by_platform, purpose
from resfuse.spec import ConvSpec, check_arrays

__all__ = ["Arrays", "as_arrays", "inference", "training"]

Arrays = dict[str, Any]  # by the names of the arguments; None for those left out


def as_arrays(**values: Any) -> Arrays:
    """Arrays of all but what may be left out, and is."""
    return {
        name: None if value is None and name not in ("x", "kernel") else as_array(name, value)
        for name, value in values.items()
    }


def inference(
    arrays: Arrays,
    spec: ConvSpec,
    implementation: str | None,
    epsilon: float,
    activation: Activation | None,
) -> Array:
    """:func:`resfuse.conv_bn_act` of these arrays."""
    arrays, native = _checked(arrays, implementation, spec)
    if purpose() is Purpose.READING:
        native, activation = False, IN_PRIMITIVES.get(activation, activation)
    with naming_forward_mode(FORWARD_MODE):
        return _inference(arrays, native, spec, epsilon, activation)


def training(
    arrays: Arrays,
    spec: ConvSpec,
    implementation: str | None,
    epsilon: float,
    activation: Activation | None,
    origin: Origin | None = None,
    gives_origin: bool = False,
) -> tuple[Made, Array, Array]:
    """:func:`resfuse.conv_bn_act_train` of these arrays.

    With ``gives_origin`` the output says what it was made from, where the kernel made it.
    """
    arrays, native = _checked(arrays, implementation, spec)
    with naming_forward_mode(FORWARD_MODE):
        return _training(arrays, native, spec, epsilon, activation, gives_origin, origin)


def _checked(arrays: Arrays, implementation: str | None, spec: ConvSpec) -> tuple[Arrays, bool]:
    """The arrays in one dtype, and whether the kernel computes this where it runs on a CPU.

    The dtype is their common inexact one, as Flax's ``promote_dtype`` has it.
    """
    check_arrays(spec, **arrays)
    given = {name: array for name, array in arrays.items() if array is not None}
    if check_implementation(implementation) == "ffi":
        _insist(given, spec)
    dtype = common_dtype(*given.values())
    dtype = dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.dtype(jnp.float32)
    native = implementation != "xla" and _why_not(given, dtype, spec) is None
    return arrays | {name: _cast(array, dtype) for name, array in given.items()}, native


def _cast(array: Array, dtype: Any) -> Array:
    return array if array.dtype == dtype else array.astype(dtype)


def _why_not(given: Arrays, dtype: Any, spec: ConvSpec) -> str | None:
    return unsupported(given["x"].shape, given["kernel"].shape, dtype, spec)


def _insist(given: Arrays, spec: ConvSpec) -> None:
    """Raises where the kernel cannot be had."""
    for name, array in given.items():
        if array.dtype != jnp.float32:
            raise TypeError(f'implementation="ffi" needs float32, got {name} of {array.dtype}')
    reason = _why_not(given, jnp.float32, spec) or _elsewhere(given)
    if reason:
        raise ValueError(f'implementation="ffi" cannot be had: {reason}')


def _elsewhere(given: Arrays) -> str | None:
    """Why this would not run on a CPU, as far as can be told before it is compiled."""
    for name, array in given.items():
        if isinstance(array, jax.core.Tracer):
            continue
        platform = next(iter(array.devices())).platform
        if array.committed and platform != "cpu":
            return f"{name} is on {platform}, the kernel runs on a CPU"
    platform = default_platform()
    return None if platform == "cpu" else f"it would run on {platform}, the kernel runs on a CPU"


def _is_unbatched(arrays: Arrays) -> bool:
    return bool(arrays["x"].ndim < arrays["kernel"].ndim)


def _batched(arrays: Arrays) -> Arrays:
    """The images with a batch axis."""
    images = {name: arrays[name] for name in ("x", "residual")}
    return arrays | {k: None if v is None else v[None] for k, v in images.items()}


_jitted = functools.partial(jax.jit, static_argnums=(1, 2, 3, 4), inline=True)


@_jitted
def _inference(
    arrays: Arrays, native: bool, spec: ConvSpec, epsilon: float, activation: Activation | None
) -> Array:
    if _is_unbatched(arrays):
        return _inference(_batched(arrays), native, spec, epsilon, activation)[0]
    _check_elementwise(activation, arrays, spec)

    def on_cpu(arrays: Arrays) -> Array:
        operands = (arrays["x"], arrays["kernel"], *_scale_and_shift(arrays, epsilon))
        residual = () if arrays["residual"] is None else (arrays["residual"],)
        epilogue, rest = _ending(activation, _output_shape(arrays, spec), len(residual))
        y: Array = affine_on_cpu(*operands, *residual, spec=spec, epilogue=epilogue)
        return y if rest is None else rest(y)

    def plain(arrays: Arrays) -> Array:
        return reference.conv_bn_act(**arrays, spec=spec, epsilon=epsilon, activation=activation)

    if not native:
        return plain(arrays)
    return by_platform(arrays, cpu=on_cpu, default=plain)


def _output_shape(arrays: Arrays, spec: ConvSpec) -> tuple[int, ...]:
    return spec.output_shape(arrays["x"].shape, arrays["kernel"].shape)


# Without and with a residual. Most layers end so: to compile each anew would take a fifth of the
# time in which a network is traced.
_COMPILED: dict[Activation | None, tuple[Epilogue, Epilogue]]
_COMPILED = {None: (IDENTITY, ADD), jax.nn.relu: (RELU, ADD_RELU)}


# These are so for certain, and to trace them for each layer takes a tenth of the network's time.
_ELEMENTWISE = frozenset({*IN_PRIMITIVES, *IN_PRIMITIVES.values(), jax.nn.gelu, jax.nn.sigmoid})


def _ending(
    activation: Activation | None, shape: tuple[int, ...], residuals: int
) -> tuple[Epilogue, Activation | None]:
    """What ends the layer in the kernel, and what is left to plain JAX."""
    if activation in _COMPILED:
        return _COMPILED[activation][residuals], None
    kinds: list[Kind] = ["tensor"] * residuals
    compiled = activation_epilogue(activation, shape, *kinds)
    return (compiled, None) if compiled else (_COMPILED[None][residuals], activation)


def _after_norm(activation: Activation | None, residual: Array | None) -> Ending | None:
    """What batch norm's passes compute behind it; None: the activation is left to plain JAX."""
    if activation is None or activation in _COMPILED:
        return _COMPILED[activation][0].gate
    if activation is jax.nn.silu and residual is None:
        return SILU
    return gate_of(activation)


def _check_elementwise(activation: Activation | None, arrays: Arrays, spec: ConvSpec) -> None:
    if activation is None or activation in _ELEMENTWISE:
        return
    shape = jax.ShapeDtypeStruct(_output_shape(arrays, spec), arrays["x"].dtype)
    try:
        trace_elementwise(activation, shape)
    except NotElementwiseError as error:
        raise ValueError(
            f"activation must map each number by itself, got {activation!r}: {error}"
        ) from error


def _scale_and_shift(arrays: Arrays, epsilon: float) -> tuple[Array, Array]:
    """Batch norm with given statistics, and the convolution's bias, as one scale and shift."""
    channels, dtype = arrays["kernel"].shape[-1:], arrays["kernel"].dtype
    multiplier, shift = jnp.ones(channels, dtype), jnp.zeros(channels, dtype)
    if arrays["var"] is not None:
        multiplier = lax.rsqrt(arrays["var"] + epsilon)
    if arrays["scale"] is not None:
        multiplier = multiplier * arrays["scale"]
    if arrays["conv_bias"] is not None:
        shift = arrays["conv_bias"]
    if arrays["mean"] is not None:
        shift = shift - arrays["mean"]
    shift = shift * multiplier
    return multiplier, shift if arrays["bias"] is None else shift + arrays["bias"]


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4, 5), inline=True)
def _training(
    arrays: Arrays,
    native: bool,
    spec: ConvSpec,
    epsilon: float,
    activation: Activation | None,
    gives_origin: bool,
    origin: Origin | None,
) -> tuple[Made, Array, Array]:
    if _is_unbatched(arrays):
        of_one = _batched(arrays), native, spec, epsilon, activation, False, None
        made, mean, var = _training(*of_one)
        return Made(made.y[0]), mean, var
    _check_elementwise(activation, arrays, spec)
    # Of nothing there are no statistics: what derives from them is up to the reference.
    native = native and 0 not in _output_shape(arrays, spec)
    ending = _after_norm(activation, arrays["residual"])
    passed = ending or Gate()
    gives_origin = gives_origin and native and arrays["residual"] is None and ending is not None

    def on_cpu(arrays: Arrays, origin: Origin | None) -> tuple[Made, Array, Array]:
        operands = {name: array for name, array in arrays.items() if name != "conv_bias"}
        made, mean, var = train_on_cpu(
            **operands, origin=origin, spec=spec, epsilon=epsilon, ending=passed
        )
        y = made.y
        if ending is None and activation is not None:
            # Its derivative saves nothing but y: to compute it again costs less than to write and
            # read what is in between, such as the products of hard swish.
            y = jax.checkpoint(activation)(y)
        # The mean takes the convolution's bias away again.
        conv_bias = arrays["conv_bias"]
        mean = mean if conv_bias is None else mean + conv_bias
        return made if gives_origin else Made(y), mean, var

    def plain(arrays: Arrays, origin: Origin | None) -> tuple[Made, Array, Array]:
        del origin
        y, mean, var = reference.conv_bn_act_train(
            **arrays, spec=spec, epsilon=epsilon, activation=activation
        )
        if not gives_origin:
            return Made(y), mean, var
        # Of the same types; elsewhere nothing reads it.
        of_norm = y, arrays["scale"], arrays["bias"], mean, var
        return Made(y, Origin.of(*of_norm, epsilon=epsilon, ending=passed)), mean, var

    if not native:
        return plain(arrays, origin)
    return by_platform(arrays, origin, cpu=on_cpu, default=plain)
