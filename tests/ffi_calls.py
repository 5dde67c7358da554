"""The extension's targets as they are called without the package: right, and wrong in one thing."""

import functools
import itertools

import jax
import numpy as np
import pytest

from agreement import images
from resfuse import ffi
from resfuse.spec import ConvSpec
from sampling import long_but

AFFINE, STATISTICS, PACK, MAX_POOL = (
    f"resfuse_{name}" for name in ("conv_affine", "conv_statistics", "pack", "max_pool")
)
CASCADE = "resfuse_conv_cascade"
BY_INPUT, BY_WEIGHTS, BY_BOTH = (
    f"resfuse_conv_{name}" for name in ("input_gradient", "weight_gradient", "gradients")
)
POOL_GRADIENT, NORMALIZE, NORM_SUMS, NORM_GRADIENT = (
    f"resfuse_{name}" for name in ("max_pool_gradient", "normalize", "norm_sums", "norm_gradient")
)
LAYER_NORM, GROUP_NORM = "resfuse_layer_norm", "resfuse_group_norm"
NORMALIZE_AGAIN = "resfuse_normalize_again"
EMPTY = "resfuse_empty"
SUM_POOL, SUM_POOL_GRADIENT = "resfuse_sum_pool", "resfuse_sum_pool_gradient"
X, KERNEL, Y, CHANNELS = (2, 5, 4, 4), (3, 3, 4, 6), (2, 5, 4, 6), (6,)
GRADIENTS = [BY_INPUT, BY_WEIGHTS, BY_BOTH]
POOLINGS = [MAX_POOL, POOL_GRADIENT, SUM_POOL, SUM_POOL_GRADIENT]

GEOMETRY = {"strides": (1, 1), "padding": (1, 1, 1, 1)}
DILATION = {"image_dilation": (1, 1), "window_dilation": (1, 1)}
CONV = GEOMETRY | DILATION | {"groups": 1, "winograd": True}
PROGRAM = {"code": (), "constants": (), "returned": (0,)}
GATE = {"gate": (), "at_least": False, "silu": False}
UNPACKED = {"packed": (), "prologue": ()}
POOL = GEOMETRY | {"window": (3, 3), "window_dilation": (1, 1)}


NEXT = (3, 3, 6, 6)  # the kernel of a second convolution


def of_part(number, **attributes):
    return {f"{name}_{number}": value for name, value in attributes.items()}


def packed_shape(kernel=KERNEL):
    spec = ConvSpec((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1, None)
    return jax.eval_shape(functools.partial(ffi.pack, spec=spec), images(*kernel)).shape


# Right calls: the shapes of operands and outputs, and attributes.
CALLS = {
    AFFINE: ([X, KERNEL, CHANNELS, CHANNELS], [Y], CONV | PROGRAM | UNPACKED),
    CASCADE: (
        [X, packed_shape(), CHANNELS, CHANNELS, packed_shape(NEXT), CHANNELS, CHANNELS],
        [Y],
        {"parts": 2, "squeeze": False, "sums_rows": False}
        | of_part(0, **CONV, **PROGRAM, packed=KERNEL, operands=0)
        | of_part(1, **CONV, **PROGRAM, packed=NEXT, operands=0),
    ),
    STATISTICS: ([X, KERNEL], [Y, CHANNELS, CHANNELS], CONV),
    PACK: ([KERNEL], [packed_shape()], DILATION | {"groups": 1}),
    MAX_POOL: ([X], [X], POOL),
    BY_INPUT: ([Y, KERNEL], [X], CONV),
    BY_WEIGHTS: ([X, Y], [KERNEL], CONV),
    BY_BOTH: ([X, KERNEL, Y], [X, KERNEL], CONV),
    POOL_GRADIENT: ([X, X], [X], POOL),
    SUM_POOL: ([X], [X], POOL),
    SUM_POOL_GRADIENT: ([X], [X], POOL),
    NORMALIZE: ([Y, CHANNELS, CHANNELS, CHANNELS], [Y], GATE),
    NORMALIZE_AGAIN: ([Y, CHANNELS, CHANNELS, CHANNELS, X], [Y], GATE),
    NORM_SUMS: ([Y, Y, CHANNELS], [CHANNELS, CHANNELS], GATE),
    NORM_GRADIENT: ([Y, Y, *[CHANNELS] * 4], [Y], GATE),
    LAYER_NORM: ([Y, CHANNELS, CHANNELS], [Y], {"epsilon": (0,), "centred": True}),
    GROUP_NORM: ([Y, CHANNELS, CHANNELS], [Y], GATE | {"epsilon": (0,), "groups": 2}),
    EMPTY: ([], [Y], {}),
}

# The names of what each call takes and gives, optional ones in brackets.
NAMES = {
    AFFINE: ("x kernel scale shift [operand_0]", "y"),
    CASCADE: ("x kernel_0 scale_0 shift_0 kernel_1 scale_1 shift_1", "y"),
    STATISTICS: ("x kernel", "y mean var"),
    PACK: ("kernel", "packed"),
    MAX_POOL: ("x", "y"),
    BY_INPUT: ("d_y kernel", "d_x"),
    BY_WEIGHTS: ("x d_y", "d_kernel"),
    BY_BOTH: ("x kernel d_y", "d_x d_kernel"),
    POOL_GRADIENT: ("x d_y", "d_x"),
    SUM_POOL: ("x", "y"),
    SUM_POOL_GRADIENT: ("d_y", "d_x"),
    NORMALIZE: ("conv mean scale shift [residual]", "y"),
    NORMALIZE_AGAIN: ("conv mean scale shift after", "y"),
    NORM_SUMS: ("d_y conv mean", "plain weighted"),
    NORM_GRADIENT: ("d_y conv mean a b d", "d_conv [d_residual]"),
    LAYER_NORM: ("x scale shift", "y"),
    GROUP_NORM: ("x scale shift", "y"),
    EMPTY: ("", "y"),
}


def as_attribute(value):
    if isinstance(value, np.generic | np.ndarray):
        return value
    kind = np.bool_ if isinstance(value, bool) else np.int64
    return np.array(value, kind) if isinstance(value, tuple) else kind(value)


def call(
    target, operands=None, outputs=None, dtype=np.float32, output_dtype=np.float32, **attributes
):
    """A call that is right in all but what the arguments say.

    ``dtype`` is that of the operands, or a list with one for each; so is ``output_dtype`` of the
    outputs. An attribute that is None is left out.
    """
    right_operands, right_outputs, right_attributes = CALLS[target]
    results = typed(outputs or right_outputs, output_dtype)
    attributes = right_attributes | attributes
    attributes = {k: as_attribute(v) for k, v in attributes.items() if v is not None}
    function = functools.partial(jax.ffi.ffi_call(target, results), **attributes)
    arrays = (
        np.asarray(images(*x.shape), x.dtype) for x in typed(operands or right_operands, dtype)
    )
    return jax.block_until_ready(jax.jit(function)(*arrays))


def typed(shapes, dtype):
    dtypes = dtype if isinstance(dtype, list) else [dtype] * len(shapes)
    return [jax.ShapeDtypeStruct(*pair) for pair in zip(shapes, dtypes, strict=True)]


def refuses(message, target, **bad):
    with pytest.raises(
        jax.errors.JaxRuntimeError, match=f"INVALID_ARGUMENT: resfuse: .*(?:{message})"
    ):
        call(target, **bad)


def taking_turns(targets, table):
    """Each case of ``table`` for every other target, which read it by the same code; or long."""
    product = list(itertools.product(targets, table))
    ids = [f"{target}-{name}" for target, name in product]
    kept = [row for at, row in enumerate(product) if (at // len(table) + at % len(table)) % 2 == 0]
    return [
        pytest.param(*param.values, marks=param.marks, id=name)
        for param, name in zip(long_but(kept, product), ids, strict=True)
    ]
