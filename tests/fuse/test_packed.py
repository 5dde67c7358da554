"""``affine`` on packed weights: the same call as on others, under every transformation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import resfuse
from agreement import assert_identical, images
from cases import kernel_calls
from kernel_case import Case, on_every_isa
from resfuse import _ext, ffi, memory
from resfuse.kernel import extension
from resfuse.kernel.affine import affine
from resfuse.spec import make_spec
from two_devices import BATCH, mesh

SAME = ((1, 1), (1, 1))
CASES = {
    "direct": Case(4, (6, 5), (4, 6), (3, 3), padding=SAME),
    "groups": Case(4, (6, 5), (4, 12), (3, 2), (2, 1), SAME, groups=2),
    "lanes": Case(4, (6, 5), (6, 6), (3, 3), padding=SAME, groups=6),
    "winograd": Case(4, (8, 8), (32, 33), (3, 3), padding=SAME),
    "gathered": Case(4, (3, 3), (1024, 9), (1, 1)),
}
TARGET = "resfuse_conv_affine"
IN_CASES = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def operands(case):
    """``x, kernel, scale, shift, residual``, all as large as in a network."""
    image, kernel, out = case.shapes
    weights = images(*kernel) / np.sqrt(np.prod(kernel[:3]))
    return images(*image), weights, images(*out[-1:]), images(*out[-1:]), images(*out)


def spec_of(case):
    return case.spec(*map(np.empty, case.shapes[:2]), precision=None)


def pack(case):
    return ffi.pack(operands(case)[1], spec_of(case))


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
    now = extension.pack_now(kernel, spec, memory.empty(extension.packed_type(kernel, spec).shape))
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
        _ext.pack(kernel.astype(np.float32), packed, (1, 1), (1, 1), 1)


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
