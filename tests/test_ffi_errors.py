"""The C++ side trusts nobody: each bad call to a target is an error, and not a crash."""

import functools

import jax
import numpy as np
import pytest

from agreement import images

AFFINE, STATISTICS = "resfuse_conv_affine", "resfuse_conv_statistics"
AFFINE_ATTRIBUTES = {
    "relu": np.bool_(True),
    "winograd": np.bool_(True),
    "packed": np.array((), np.int64),
}
GOOD = {"strides": (1, 1), "padding": (1, 1, 1, 1), "groups": 1}
ATTRIBUTES = {  # an attribute, and what the error says
    "one stride": ({"strides": (1,)}, "strides must be two integers"),
    "no strides": ({"strides": ()}, "strides must be two integers"),
    "stride 0": ({"strides": (0, 1)}, r"strides must be in \[1, 2\^31\], got \(0,1,\)"),
    "huge stride": ({"strides": (1, 2**62)}, r"strides must be in \[1, 2\^31\]"),
    "three pads": ({"padding": (1, 1, 1)}, "padding must be four integers"),
    "negative padding": ({"padding": (1, -1, 1, 1)}, r"padding must be in \[0, 2\^31\]"),
    "huge padding": ({"padding": (2**62, 0, 0, 0)}, r"padding must be in \[0, 2\^31\]"),
    "no groups": ({"groups": 0}, "groups must be at least 1, got 0"),
    "negative groups": ({"groups": -1}, "groups must be at least 1, got -1"),
    "groups that do not divide": ({"groups": 3}, "groups=3 do not fit x"),
    "too many groups": ({"groups": 2}, "groups=2 do not fit x"),
    "other padding": ({"padding": (0, 0, 0, 0)}, r"output has shape .* expected \(2,3,2,6,\)"),
    "no output": ({"strides": (9, 9)}, r"output has shape .* expected \(2,1,1,6,\)"),
}
OPERANDS = {  # the shapes of x and kernel, and what the error says
    "x of rank 3": ((5, 4, 4), (3, 3, 4, 6), "x must have rank 4"),
    "x of rank 0": ((), (3, 3, 4, 6), "x must have rank 4"),
    "kernel of rank 2": ((2, 5, 4, 4), (4, 6), "kernel must have rank 4"),
    "input channels": ((2, 5, 4, 3), (3, 3, 4, 6), "do not fit x"),
    "output channels": ((2, 5, 4, 4), (3, 3, 4, 7), "output has shape"),
    "batch": ((1, 5, 4, 4), (3, 3, 4, 6), "output has shape"),
    "empty images": ((2, 0, 4, 4), (3, 3, 4, 6), "is empty"),
    "empty kernel": ((2, 5, 4, 4), (0, 3, 4, 6), "is empty"),
}
AFFINE_OPERANDS = {  # the shapes after x and kernel
    "scale": (((5,), (6,)), r"scale has shape \(5,\), expected \(6,\)"),
    "scale of rank 2": (((6, 1), (6,)), r"scale has shape \(6,1,\), expected \(6,\)"),
    "shift": (((6,), ()), r"shift has shape \(\), expected \(6,\)"),
    "residual": (((6,), (6,), (2, 5, 4, 1)), "residual has shape"),
    "two residuals": (((6,), (6,), (2, 5, 4, 6), (2, 5, 4, 6)), "at most one residual"),
    "no shift": (((6,),), "[Ww]rong number of"),
}
OUTPUTS = {  # of the statistics
    "mean": (((2, 5, 4, 6), (5,), (6,)), "mean has shape"),
    "var": (((2, 5, 4, 6), (6,), ()), "var has shape"),
    "no var": (((2, 5, 4, 6), (6,)), "[Ww]rong number of"),
}


def call(target, operands=None, outputs=None, dtype=np.float32, **attributes):
    """A call that is right in all but what the arguments say."""
    affine = target == AFFINE
    operands = operands or [(2, 5, 4, 4), (3, 3, 4, 6), *[(6,), (6,)] * affine]
    outputs = outputs or [(2, 5, 4, 6), *[(6,), (6,)] * (not affine)]
    attributes = {
        name: np.array(value, np.int64) if isinstance(value, tuple) else np.int64(value)
        for name, value in (GOOD | attributes).items()
    } | (AFFINE_ATTRIBUTES if affine else {})
    results = [jax.ShapeDtypeStruct(shape, np.float32) for shape in outputs]
    function = functools.partial(jax.ffi.ffi_call(target, results), **attributes)
    return jax.block_until_ready(jax.jit(function)(*(images(*s).astype(dtype) for s in operands)))


def refuses(message, target, **bad):
    with pytest.raises(jax.errors.JaxRuntimeError, match=message):
        call(target, **bad)


@pytest.mark.parametrize("target", [AFFINE, STATISTICS])
def test_a_right_call_works(target):
    assert call(target)[0].shape == (2, 5, 4, 6)


@pytest.mark.parametrize("target", [AFFINE, STATISTICS])
@pytest.mark.parametrize(("bad", "message"), ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_attributes(target, bad, message):
    refuses(message, target, **bad)


@pytest.mark.parametrize("target", [AFFINE, STATISTICS])
@pytest.mark.parametrize(("x", "kernel", "message"), OPERANDS.values(), ids=OPERANDS)
def test_operands(target, x, kernel, message):
    refuses(message, target, operands=[x, kernel, *[(6,), (6,)] * (target == AFFINE)])


@pytest.mark.parametrize(("rest", "message"), AFFINE_OPERANDS.values(), ids=AFFINE_OPERANDS)
def test_operands_of_the_epilogue(rest, message):
    refuses(message, AFFINE, operands=[(2, 5, 4, 4), (3, 3, 4, 6), *rest])


@pytest.mark.parametrize(("outputs", "message"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_of_the_statistics(outputs, message):
    refuses(message, STATISTICS, outputs=outputs)


@pytest.mark.parametrize("target", [AFFINE, STATISTICS])
def test_buffers_of_another_dtype(target):
    refuses("[Ww]rong buffer dtype", target, dtype=np.int32)


@pytest.mark.parametrize("target", [AFFINE, STATISTICS])
def test_attributes_of_another_type(target):
    call_in_float = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct((2, 5, 4, 6), np.float32))
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"[Ww]rong"):
        jax.jit(functools.partial(call_in_float, groups=np.float32(1)))(images(2, 5, 4, 4))
