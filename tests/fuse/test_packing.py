"""Weights are packed for the instruction set in use, in a program and, at once, without one."""

import jax
import numpy as np
import pytest
from jax import lax

import resfuse
from agreement import assert_identical, images
from kernel_case import Case, on_every_isa
from packed_case import CASES, operands, pack, spec_of
from resfuse import _ext, ffi, memory
from resfuse.kernel import extension
from resfuse.spec import make_spec


def test_fuse_packs_for_the_isa_in_use():
    """Also where it has packed such a kernel for another one before."""
    x, kernel = images(1, 6, 6, 4), images(3, 3, 4, 40)

    def shape_in_program():
        fast = resfuse.fuse(lambda x: lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))  # fmt: skip
        packed = ffi.pack(kernel, make_spec(x, kernel, strides=1, padding="SAME",
                                            feature_group_count=1, precision=None))  # fmt: skip
        program = jax.jit(fast).lower(x).as_text()
        return "tensor<" + "x".join(map(str, packed.shape)) + "xf32>" in program

    assert all(on_every_isa(shape_in_program).values())


FILTER_BANK = Case(1, (9,), (8, 1), (16,), padding=((4, 3),), image_dilation=(8,))


@pytest.mark.parametrize("case", [*CASES.values(), FILTER_BANK], ids=[*CASES, "folded"])
@pytest.mark.usefixtures("isa")
def test_packs_now_as_in_a_program(case):
    kernel, spec = np.asarray(operands(case)[1]), spec_of(case)
    now = memory.empty(extension.packed_type(kernel, spec).shape)
    extension.pack_now([(kernel, spec, now)])
    assert_identical(jax.device_put(now), pack(case))
    assert now.ctypes.data == jax.device_put(now).unsafe_buffer_pointer()  # not copied


NOW = {
    "shape": (np.zeros((3, 3, 4, 6)), np.zeros((1, 9, 4, 7)), ValueError, "packed weights have sh"),
    "rank": (np.zeros(3), np.zeros((1, 1, 1, 1)), ValueError, "kernel"),
    "dtype": (np.zeros((3, 3, 4, 6)), np.zeros((1, 9, 4, 32), np.int32), TypeError, "incompatible"),
    "order": (np.zeros((3, 3, 4, 6)).T, np.zeros((1, 9, 4, 32)), TypeError, "incompatible"),
}


@pytest.mark.parametrize("name", NOW)
def test_packs_nothing_else_now(name):
    kernel, packed, error, message = NOW[name]
    packed = packed.astype(np.float32) if packed.dtype == np.float64 else packed
    with pytest.raises(error, match=message):
        _ext.pack([(kernel.astype(np.float32), packed, (1, 1), (1, 1), 1)])
