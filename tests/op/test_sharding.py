"""The batch on two devices: the values of one device, and images that stay where they are."""

import jax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from cases import OPS, call, problem
from two_devices import check, loss, mesh, op_of, sharded


def run_sharded(function, arrays, kind=AxisType.Auto):
    """The result, and the program that computed it."""
    with jax.set_mesh(mesh(kind)):
        compiled = jax.jit(function).lower(arrays := sharded(arrays, mesh(kind))).compile()
        return compiled(arrays), compiled.as_text()


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_values(op, kind):
    """In training, the statistics are those of the whole batch."""
    arrays = problem(op, x=(4, 6, 5, 4))
    arrays["x"] = arrays["x"].at[2:].add(3)  # a half of the batch unlike the other
    got, program = run_sharded(op_of(op)("ffi"), arrays, kind)
    check(got, op_of(op), arrays)
    assert "all-gather" not in program
    assert "resfuse_conv" in program
    y = jax.tree.leaves(got)[0]
    assert {shard.data.shape for shard in y.addressable_shards} == {(2, 6, 5, 6)}


@pytest.mark.parametrize(
    ("op", "kind"),
    [
        ("inference", AxisType.Explicit),
        ("training", AxisType.Auto),
        ("training", AxisType.Explicit),
    ],
)
def test_gradients(op, kind):
    arrays = problem(op, x=(4, 6, 5, 4))
    arrays["x"] = arrays["x"].at[2:].add(3)  # a half of the batch unlike the other
    got, program = run_sharded(jax.grad(loss(op)), arrays, kind)
    check(got, lambda implementation: jax.grad(loss(op, implementation)), arrays)
    assert "all-gather" not in program
    for name in ("x", "residual"):
        assert {shard.data.shape[0] for shard in got[name].addressable_shards} == {2}


def test_gradients_by_weights_alone():
    """Whose call has no images to keep where they are."""
    arrays = problem("training", x=(4, 6, 5, 4))

    def gradient(implementation="ffi"):
        def of_kernel(arrays):
            of = lambda kernel: loss("training", implementation)(arrays | {"kernel": kernel})  # noqa: E731
            return jax.grad(of)(arrays["kernel"])

        return of_kernel

    got, program = run_sharded(gradient(), arrays)
    check(got, gradient, arrays)
    assert "all-gather" not in program
    assert "resfuse_conv_weight_gradient" in program


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("images", [P(), P(None, "batch"), P(None, None, None, "batch")], ids=str)
def test_sharded_in_other_ways(op, images):
    """Replicated, by rows, by channels: gathered as need be, and right."""
    arrays = problem(op)
    got = jax.jit(op_of(op)("ffi"))(sharded(arrays, mesh(), images))
    check(got, op_of(op), arrays)


@pytest.mark.parametrize("op", OPS)
def test_a_batch_that_does_not_divide(op):
    """Three images inside a program that wants them on two devices: XLA pads."""
    arrays = problem(op, x=(3, 6, 5, 4))
    rows = NamedSharding(mesh(), P("batch"))

    def constrained(implementation):
        def function(arrays):
            x = jax.lax.with_sharding_constraint(arrays["x"] * 2, rows)
            return call(op, arrays | {"x": x}, implementation)

        return function

    check(jax.jit(constrained("ffi"))(sharded(arrays, mesh(), P())), constrained, arrays)
