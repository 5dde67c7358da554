"""``affine`` on packed weights: the same call as on others, under every transformation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from agreement import assert_identical
from cases import kernel_calls
from kernel_case import on_every_isa
from packed_case import CASES, operands, pack, spec_of
from resfuse import ffi
from resfuse.kernel.affine import affine
from two_devices import BATCH, mesh

TARGET = "resfuse_conv_affine"
IN_CASES = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def unpacked(case, **options):
    return functools.partial(affine, spec=spec_of(case), epilogue=case.epilogue, **options)


@functools.cache
def alone(case):
    """The call on weights that are not packed, compiled once for all ISAs."""
    return jax.jit(unpacked(case))


def packed(case, **options):
    """The call with weights that were packed outside of it."""
    return unpacked(case, packed=pack(case), **options)


def loss(function):
    return lambda *operands: jnp.sum((function(*operands) - 0.5) ** 2)


def assert_same(case, transform, *arguments):
    """The same bits: all but the weights' order in memory is the same program."""
    ours, theirs = (jax.jit(transform(f(case))) for f in (packed, unpacked))
    assert_identical(ours(*arguments), theirs(*arguments))


@IN_CASES
def test_reads_the_packed_weights_alone(case):
    x, kernel, *rest = operands(case)
    ((target, types),) = kernel_calls(packed(case), x, kernel, *rest)
    shape = "x".join(map(str, pack(case).shape))
    assert target == TARGET
    assert f", tensor<{shape}xf32>, " in types
    got = jax.jit(packed(case))(x, jnp.zeros_like(kernel), *rest)
    assert_identical(got, alone(case)(x, kernel, *rest))


@pytest.mark.parametrize("name", ["direct", "winograd"])
def test_without_residual(name):
    case = dataclasses.replace(CASES[name], residual=False)
    assert_same(case, lambda f: f, *operands(case)[:-1])


@IN_CASES
@pytest.mark.usefixtures("isa")
def test_packed_inside_jit(case):
    def whole(x, kernel, *rest):
        weights = ffi.pack(kernel, spec_of(case))
        return unpacked(case)(x, kernel, *rest, packed=weights)

    assert_identical(jax.jit(whole)(*operands(case)), alone(case)(*operands(case)))


@pytest.mark.parametrize("name", ["groups", "winograd"])
def test_gradients(name):
    """By every operand but the packed weights, which hold nothing that ``kernel`` does not."""
    case = CASES[name]
    assert_same(case, lambda f: jax.grad(loss(f), tuple(range(5))), *operands(case))


def test_no_gradient_by_the_packed_weights():
    case = CASES["direct"]
    gradient = jax.jit(jax.grad(lambda w: loss(unpacked(case, packed=w))(*operands(case))))(
        pack(case)
    )
    assert not gradient.any()


def test_checkpoint_and_scan():
    case = CASES["lanes"]

    def layers(f):
        def total(x, *rest):
            step = jax.checkpoint(lambda x, _: (f(x, *rest), None))
            return jnp.sum(jax.lax.scan(step, x, length=2)[0] ** 2)

        return jax.grad(total, (0, 1))

    assert_same(case, layers, *operands(case))


@pytest.mark.parametrize("name", ["direct", "winograd"])
def test_vmap_over_images_makes_one_larger_batch(name):
    case = CASES[name]
    x, kernel, scale, shift, residual = operands(case)
    axes = (0, None, None, None, 1)
    arguments = jnp.stack([x, 2 * x, -x]), kernel, scale, shift, jnp.stack([residual] * 3, 1)
    mapped = functools.partial(jax.vmap, in_axes=axes)
    assert_same(case, mapped, *arguments)
    ((_, types),) = kernel_calls(mapped(packed(case)), *arguments)
    assert types.startswith("tensor<{}x{}x{}x{}xf32>".format(12, *x.shape[1:]))


@pytest.mark.parametrize("name", ["scale", "residual", "everything but the kernel"])
def test_vmap_over_others(name):
    case = CASES["direct"]
    arrays = operands(case)
    mapped = {"scale": (2,), "residual": (4,)}.get(name, (0, 2, 3, 4))
    stacked = [jnp.stack([a, -a]) if i in mapped else a for i, a in enumerate(arrays)]
    axes = tuple(0 if i in mapped else None for i in range(5))
    assert_same(case, functools.partial(jax.vmap, in_axes=axes), *stacked)


def test_vmap_of_grad_and_grad_of_vmap():
    case = CASES["direct"]
    x, *rest = operands(case)
    axes = (0, *[None] * 4)
    for transform in (
        lambda f: jax.vmap(jax.grad(loss(f), (0, 1)), axes),
        lambda f: jax.grad(loss(jax.vmap(f, axes)), (0, 1)),
    ):
        assert_same(case, transform, jnp.stack([x, 2 * x]), *rest)


def test_vmap_over_packed_weights():
    """One call after the other, as over kernels."""
    case = CASES["direct"]
    x, kernel, *rest = operands(case)
    weights = jnp.stack([pack(case), -pack(case)])
    mapped = jax.vmap(lambda w: unpacked(case, packed=w)(x, kernel, *rest))
    expected = [unpacked(case)(x, k, *rest) for k in (kernel, -kernel)]
    assert_identical(mapped(weights), jnp.stack(expected))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("direct", AxisType.Explicit), ("lanes", AxisType.Auto), ("winograd", AxisType.Auto)],
)
def test_sharded_batch_stays_sharded(name, kind):
    case = CASES[name]
    specs = (BATCH, P(), P(), P(), BATCH)
    with jax.set_mesh(mesh(kind)):
        placed = [
            jax.device_put(array, NamedSharding(mesh(kind), spec))
            for array, spec in zip(operands(case), specs, strict=True)
        ]
        program = jax.jit(packed(case)).lower(*placed).compile()
        got = program(*placed)
    halves = [[a[rows] if a.ndim == 4 and len(a) == 4 else a for a in operands(case)]
              for rows in (slice(0, 2), slice(2, 4))]  # fmt: skip
    expected = [alone(case)(*half) for half in halves]
    np.testing.assert_array_equal(got, np.concatenate(expected))
    assert "all-gather" not in program.as_text()
    assert {shard.data.shape[0] for shard in got.addressable_shards} == {2}


@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map(check_vma):
    case = CASES["direct"]
    specs = (BATCH, P(), P(), P(), BATCH)
    parts = functools.partial(
        jax.shard_map, mesh=mesh(), in_specs=specs, out_specs=BATCH, check_vma=check_vma
    )
    assert_same(case, parts, *operands(case))
    assert_same(case, lambda f: jax.grad(loss(parts(f)), (0, 1)), *operands(case))


def test_export():
    case = CASES["lanes"]
    allowed = [export.DisabledSafetyCheck.custom_call(TARGET)]
    program = export.export(
        jax.jit(packed(case)), platforms=["cpu", "cuda"], disabled_checks=allowed
    )(*operands(case))
    assert f"custom_call @{TARGET}" in program.mlir_module()
    loaded = export.deserialize(program.serialize())
    assert_identical(jax.jit(loaded.call)(*operands(case)), alone(case)(*operands(case)))


def test_other_platforms_get_the_reference_on_the_kernel():
    case = CASES["direct"]
    program = export.export(jax.jit(packed(case)), platforms=["cuda"])(*operands(case))
    assert "custom_call @resfuse" not in program.mlir_module()
    assert "stablehlo.convolution" in program.mlir_module()


def test_takes_the_memory_of_the_residual():
    """If it may, and then not that of a residual that is still needed."""
    case = CASES["direct"]
    arrays = operands(case)

    def call(function):
        def chain(*arrays):
            residual = arrays[-1] * 2
            return function(*arrays[:-1], residual), residual

        return jax.jit(chain)(*arrays)

    assert_identical(call(packed(case, in_place=True)), call(unpacked(case)))


@IN_CASES
def test_weights_of_another_isa(case):
    """They run on the ISA that they were packed for, whichever is in use."""
    arrays = operands(case)
    by_isa = on_every_isa(lambda: pack(case))
    expected = on_every_isa(lambda: np.asarray(alone(case)(*arrays)))
    assert len({weights.shape for weights in by_isa.values()}) == len(by_isa)
    for isa, weights in by_isa.items():
        call = jax.jit(unpacked(case, packed=weights))
        for in_use, got in on_every_isa(functools.partial(call, *arrays)).items():
            np.testing.assert_array_equal(got, expected[isa], f"of {isa}, with {in_use} in use")


WRONG = {
    "of another kernel": lambda w: w[:, :1],
    "with a panel too many": lambda w: jnp.concatenate([w, w]),
    "of an ISA of 5 lanes": lambda w: w[..., :5],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_shapes(wrong):
    case = CASES["direct"]
    call = unpacked(case, packed=wrong(pack(case)))
    with pytest.raises(jax.errors.JaxRuntimeError, match="packed weights have shape"):
        jax.block_until_ready(jax.jit(call)(*operands(case)))


def test_wrong_rank():
    case = CASES["direct"]
    call = unpacked(case, packed=jnp.ravel(pack(case)))
    with pytest.raises(ValueError, match=r'conv_affine takes "n h w i, a b c e, .*got shapes'):
        jax.eval_shape(call, *operands(case))
