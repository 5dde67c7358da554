"""``jax.export``: a program on disk computes the same; elsewhere than on a CPU it is plain XLA."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import export

from agreement import assert_as_accurate, assert_identical, images, in_float64
from cases import OPS, call, jitted, problem
from resfuse import ffi
from resfuse.kernel.pool import max_pool

TARGETS = {"inference": "resfuse_conv_affine", "training": "resfuse_conv_statistics"}  # the first


def exported(op, arrays, platforms=None, checked=False, **options):
    allowed = [export.DisabledSafetyCheck.custom_call(each) for each in ffi.TARGETS]
    make = export.export(
        jitted(op, **options), platforms=platforms, disabled_checks=[] if checked else allowed
    )
    return make(arrays)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("platforms", [["cpu"], ["cpu", "cuda"]], ids=str)
def test_round_trip(op, platforms):
    arrays = problem(op)
    program = exported(op, arrays, platforms=platforms)
    assert f"custom_call @{TARGETS[op]}" in program.mlir_module()
    loaded = export.deserialize(program.serialize())
    assert_identical(jax.jit(loaded.call)(arrays), jax.jit(functools.partial(call, op))(arrays))


@pytest.mark.parametrize("op", OPS)
def test_the_custom_call_must_be_allowed(op):
    """JAX exports only the targets that it knows to be stable."""
    with pytest.raises(ValueError, match=TARGETS[op]):
        exported(op, problem(op), platforms=["cpu"], checked=True)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_other_platforms_get_the_reference(op, platform):
    module = exported(op, problem(op), platforms=[platform], checked=True).mlir_module()
    assert "custom_call @resfuse" not in module
    assert "stablehlo.convolution" in module


def symbolic(arrays, sizes):
    """The types of the arrays, with sizes of the images by name."""
    images = export.symbolic_shape(f"{sizes}, {arrays['x'].shape[-1]}")
    types = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), arrays)
    return types | {"x": jax.ShapeDtypeStruct(images, jnp.float32)}


# With each, whether the kernel takes it, which wants to know the padding in pixels.
SYMBOLIC = {
    "batch": ("b, 6, 5", {}, True),
    "same": ("b, h, w", {}, True),
    "padding in pixels": ("b, h, w", {"strides": 2, "padding": ((1, 1), (0, 2))}, True),
    "valid": ("b, h, w", {"strides": (1, 2), "padding": "VALID"}, True),
    "same with strides": ("b, h, w", {"strides": 2}, False),
}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("sizes", "options", "native"), SYMBOLIC.values(), ids=SYMBOLIC)
def test_symbolic_sizes(op, sizes, options, native):
    """One program for images of any size."""
    arrays = problem(op, without=("residual",), **options)
    program = exported(op, symbolic(arrays, sizes), **options)
    assert (f"custom_call @{TARGETS[op]}" in program.mlir_module()) == native
    given = arrays | {"x": images(3, 6, 5, 4)}
    got, alone = jax.jit(program.call)(given), jitted(op, **options)(given)
    if native:
        assert_identical(got, alone)
    else:
        assert_as_accurate(got, alone, in_float64(jitted(op, "xla", **options), given))


def test_gradients_of_symbolic_sizes():
    """Without strides: no other transposed convolution of symbolic size can JAX itself export."""
    op, arrays = "training", problem("training", without=("residual",))
    program = exported(op, symbolic(arrays, "b, h, w"))
    loaded = export.deserialize(program.serialize(vjp_order=1))

    def gradient(function):
        return jax.jit(jax.grad(lambda a: jnp.sum(jax.tree.leaves(function(a))[0] ** 2)))

    assert_identical(gradient(loaded.call)(arrays), gradient(jitted(op))(arrays))


def test_symbolic_sizes_of_two_programs():
    """Names of sizes mean something in one program alone, whatever JAX and the op remember."""
    arrays = problem(without=("residual",))
    for _ in range(2):
        exported("inference", symbolic(arrays, "b, h, h"), strides=2)


@pytest.mark.parametrize(("padding", "native"), [("SAME", False), ("VALID", True)])
def test_symbolic_sizes_of_pools(padding, native):
    pool = jax.jit(lambda x: max_pool(x, (3, 3), (2, 2), padding))
    allowed = [export.DisabledSafetyCheck.custom_call(each) for each in ffi.TARGETS]
    types = jax.ShapeDtypeStruct(export.symbolic_shape("b, h, w, 4"), jnp.float32)
    program = export.export(pool, disabled_checks=allowed)(types)
    assert ("custom_call @resfuse_max_pool" in program.mlir_module()) == native
    x = images(2, 7, 6, 4)
    assert_identical(jax.jit(program.call)(x), pool(x))
