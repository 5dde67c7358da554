"""``shard_map``: each device works on its part, and replicated weights get their gradient."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from cases import OPS, call, problem
from two_devices import BATCH, IMAGES, check, loss, mesh, sharded


def specs(arrays):
    return {name: BATCH if name in IMAGES else P() for name in arrays}


def parts(function, arrays, check_vma, outputs):
    return jax.jit(
        jax.shard_map(
            function, mesh=mesh(), in_specs=(specs(arrays),), out_specs=outputs, check_vma=check_vma
        )
    )


@pytest.mark.parametrize("check_vma", [True, False])
@pytest.mark.parametrize("op", OPS)
def test_shard_map(op, check_vma):
    """Each device has its part of the batch; in training, with statistics of its own."""
    arrays = problem(op, x=(4, 6, 5, 4))
    one = lambda arrays: jax.tree.leaves(call(op, arrays, "ffi"))  # noqa: E731
    got = parts(lambda a: [y[None] for y in one(a)], arrays, check_vma, BATCH)
    assert "all-gather" not in got.lower(arrays).compile().as_text()
    for i, rows in enumerate((slice(0, 2), slice(2, 4))):
        alone = jax.jit(one)(arrays | {name: arrays[name][rows] for name in IMAGES})
        for ours, theirs in zip(got(arrays), alone, strict=True):
            np.testing.assert_array_equal(ours[i], theirs)


def summed_over_parts(op):
    """The gradients of the sum of the losses of both parts."""

    def halves(arrays):
        for rows in (slice(0, 2), slice(2, 4)):
            yield arrays | {name: arrays[name][rows] for name in IMAGES}

    return lambda implementation: jax.grad(
        lambda arrays: sum(map(loss(op, implementation), halves(arrays)))
    )


@pytest.mark.parametrize(("op", "check_vma"), [("inference", True), ("training", False)])
def test_gradients_around_shard_map(op, check_vma):
    """By the images and by the replicated weights, whose gradient is the sum over devices."""
    arrays = problem(op, x=(4, 6, 5, 4))

    def on_parts(implementation):
        def total(arrays):
            return jax.lax.psum(loss(op, implementation)(arrays), "batch")

        return jax.grad(lambda a: parts(total, arrays, check_vma, P())(a))

    program = jax.jit(on_parts("ffi")).lower(arrays).compile()
    assert "all-gather" not in program.as_text()
    check(program(sharded(arrays, mesh())), summed_over_parts(op), arrays)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize(("op", "check_vma"), [("inference", False), ("training", True)])
def test_over_some_axes_of_a_mesh(op, check_vma, kind):
    """The other axis is left to XLA."""
    arrays = problem(op, x=(4, 6, 5, 4))
    both = jax.make_mesh((2, 1), ("batch", "other"), axis_types=(kind,) * 2)
    given = {k: jax.device_put(a, NamedSharding(both, specs(arrays)[k])) for k, a in arrays.items()}
    inside = jax.shard_map(
        lambda arrays: jax.tree.map(lambda g: g[None], jax.grad(loss(op))(arrays)["x"]),
        mesh=both, in_specs=(specs(arrays),), out_specs=BATCH, axis_names={"batch"},
        check_vma=check_vma,
    )  # fmt: skip
    with jax.set_mesh(both):
        got = np.asarray(jax.jit(inside)(given)).reshape(arrays["x"].shape)
    check(got, lambda i: lambda a: summed_over_parts(op)(i)(a)["x"], arrays)


def test_gradients_inside_shard_map():
    """With ``check_vma``, JAX sums the gradients of replicated weights by itself."""
    arrays = problem("training", x=(4, 6, 5, 4))
    inside = parts(jax.grad(loss("training")), arrays, True, specs(arrays))
    check(inside(arrays), summed_over_parts("training"), arrays)
