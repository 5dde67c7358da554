"""``jax.export``: a program on disk computes the same; elsewhere than on a CPU it is plain XLA."""

import functools

import jax
import pytest
from jax import export

from agreement import assert_identical
from cases import OPS, call, problem
from resfuse import ffi

TARGETS = {"inference": "resfuse_conv_affine", "training": "resfuse_conv_statistics"}  # the first


def exported(op, arrays, implementation=None, platforms=None, checked=False):
    allowed = [export.DisabledSafetyCheck.custom_call(each) for each in ffi.TARGETS]
    function = jax.jit(functools.partial(call, op, implementation=implementation))
    return export.export(function, platforms=platforms, disabled_checks=[] if checked else allowed)(
        arrays
    )


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
