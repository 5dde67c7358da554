"""Programs after a convolution: on every algorithm, at odd sizes, with operands of every kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oracle
from kernel_case import Case, assert_same_bits, integers, normals, on_every_isa
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.epilogue import Builder, Epilogue, compile_elementwise
from resfuse.kernel.program import MAX_INSTRUCTIONS, MAX_OPERANDS

SAME = ((1, 1), (1, 1))
CASES = {
    "one lane": Case(2, (3, 5), (3, 1), (1, 1)),
    "a vector and a lane": Case(2, (5, 7), (5, 17), (1, 1)),
    "two panels": Case(3, (1, 5), (8, 40), (1, 1)),
    "edges": Case(1, (4, 5), (3, 33), (3, 3), (2, 1), SAME),
    "many passes": Case(1, (3, 4), (1300, 9), (3, 3), padding=SAME),
    "depthwise": Case(2, (5, 4), (19, 19), (3, 3), padding=SAME, groups=19),
    "narrow groups": Case(2, (4, 4), (20, 20), (3, 3), padding=SAME, groups=5),
    "winograd": Case(2, (9, 11), (32, 37), (3, 3), padding=SAME),
    "strided winograd": Case(2, (21, 19), (64, 35), (3, 3), (2, 2), SAME),
}
KINDS = ("channel", "image", "tensor", "tensor")


def exact(acc, channel, image, tensor, other):
    """What is exact on integers, whatever the order."""
    gated = jnp.where((acc > tensor) & ~(acc == other), jnp.maximum(acc, channel), image)
    return jnp.clip(gated * 2 - jnp.abs(tensor), -200.0, 300.0) + jnp.where(acc < 0, other, 0)


def smooth(acc, channel, image, tensor, other):
    gate = jax.nn.sigmoid(acc + channel)
    return jnp.tanh(tensor) * gate + jax.nn.softplus(other) - image * jnp.exp(-jnp.abs(acc))


def operands_of(case, draw):
    """Those of the convolution, and those of the epilogue, one of each of KINDS."""
    *arrays, tensor = draw(case)
    random, (batch, *_, channels) = np.random.default_rng(1), tensor.shape
    image = random.integers(-30, 31, (batch, channels)).astype(np.float32)
    return arrays, [arrays[-1][::-1].copy(), image, tensor, tensor[..., ::-1].copy()]


def run_all(function, draw, precision):
    """``{isa: {name: (y, acc)}}`` of each case with what ``function`` makes of it, and operands."""
    operands = {name: operands_of(case, draw) for name, case in CASES.items()}

    def both(operands):
        results = {}
        for name, (arrays, others) in operands.items():
            case = CASES[name]
            epilogue = compile_elementwise(function, case.shapes[2], *KINDS)
            spec = case.spec(*arrays[:2], precision)
            results[name] = affine_on_cpu(
                *arrays, *others, spec=spec, epilogue=epilogue.with_accumulator()
            )
        return results

    program = jax.jit(both)
    return operands, on_every_isa(lambda: jax.tree.map(np.asarray, program(operands)))


def spread(operand, rank):
    shape = {1: (1,) * (rank - 1) + operand.shape, rank: operand.shape}
    return operand.reshape(shape.get(operand.ndim, (len(operand), *(1,) * (rank - 2), -1)))


def test_exact_on_integers():
    """The accumulator and what follows, bit for bit."""
    operands, by_isa = run_all(exact, integers, "highest")
    for name, (arrays, others) in operands.items():
        acc = oracle.affine(CASES[name].convolve(*arrays[:2]), *arrays[2:], relu=False)
        acc = acc.astype(np.float32)
        y = np.asarray(exact(acc, *(spread(o, acc.ndim) for o in others)))
        for isa, results in by_isa.items():
            assert_same_bits(results[name][1], acc, f"accumulator of {name} on {isa}")
            assert_same_bits(results[name][0], y, f"{name} on {isa}")


def test_rounding_follows_from_the_accumulator():
    """Winograd's included: what follows is that of its own accumulator, to a few roundings."""
    operands, by_isa = run_all(smooth, normals, None)
    assert {CASES[name].algorithm() for name in CASES} == {"direct", "grouped", "winograd"}
    for isa, results in by_isa.items():
        for name, (y, acc) in results.items():
            others = [spread(o, acc.ndim).astype(np.float64) for o in operands[name][1]]
            with jax.enable_x64(True):
                expected = np.asarray(smooth(acc.astype(np.float64), *others))
            # Each of the three terms has at most 4 units of its functions, and a few roundings.
            size = 1 + np.abs(others[3]) + np.abs(others[1])
            assert (np.abs(y - expected) <= 8 * oracle.EPSILON * size).all(), f"{name} on {isa}"


def program_of(build):
    """An epilogue of what ``build(builder)`` returns, computed by itself in plain JAX."""
    builder = Builder()
    program = builder.build(*build(builder))
    return Epilogue(program, program)


def many_live(builder):
    """As many registers at a time as an instruction each makes, taken in their order again."""
    acc = builder.accumulator
    half = MAX_INSTRUCTIONS // 2
    values = [builder.instruct("add", acc, builder.constant(2.0**n)) for n in range(half)]
    total = acc
    for value in values[: MAX_INSTRUCTIONS - half]:
        total = builder.instruct("sub", value, total)
    return [total]


def all_operands(builder):
    total = builder.accumulator
    for n in range(MAX_OPERANDS):
        total = builder.instruct("add", builder.operand(KINDS[n % 3]), total)
    return [total]


def four_outputs(builder):
    """A constant, an operand, the accumulator, and a result that has served others before."""
    tensor = builder.operand("tensor")
    twice = builder.instruct("add", builder.accumulator, builder.accumulator)
    product = builder.instruct("mul", twice, tensor)
    return [builder.constant(7.0), tensor, builder.accumulator,
            builder.instruct("sub", twice, product)]  # fmt: skip


def products(builder):
    """Products that are passes of their own, and such that are not."""
    acc, two = builder.accumulator, builder.constant(2.0)
    square = builder.instruct("mul", acc, acc)
    cube = builder.instruct("mul", square, acc)
    negative = builder.instruct("neg", acc)
    both = builder.instruct("mul", negative, builder.instruct("abs", acc))
    again = builder.instruct("mul", builder.instruct("add", both, negative), two)
    return [builder.instruct("sub", cube, builder.instruct("mul", two, again)), square]


def factors(builder):
    """A result that is a factor of one line and an operand of another, and sums of products."""
    acc, tensor = builder.accumulator, builder.operand("tensor")
    negative = builder.instruct("neg", acc)
    first = builder.instruct("mul", builder.instruct("abs", acc), negative)
    second = builder.instruct("mul", negative, tensor)
    third = builder.instruct("add", builder.instruct("mul", acc, tensor), second)
    square = builder.instruct("mul", third, builder.constant(2.0))
    return [builder.instruct("add", builder.instruct("mul", first, square), square), third]


def pairs(builder):
    """Two operations in one pass, with as many factors as there can be and one more."""
    acc, tensor = builder.accumulator, builder.operand("tensor")
    three, six = builder.constant(3.0), builder.constant(6.0)
    moved = builder.instruct("add", acc, three)
    ramp = builder.instruct("clamp", builder.constant(-6.0), moved, six)
    for factor in (three, acc, tensor):
        ramp = builder.instruct("mul", ramp, factor)
    greater, at_least = (builder.instruct(name, acc, tensor) for name in ("gt", "ge"))
    larger = builder.instruct("select_n", greater, tensor, acc)
    other = builder.instruct("select_n", at_least, six, larger)
    shared = builder.instruct("add", other, moved)
    return [builder.instruct("sub", ramp, shared), greater]


def bounds(builder):
    """What is compiled into the tile: a sum within two numbers."""
    total = builder.instruct("add", builder.accumulator, builder.operand("tensor"))
    low, high = builder.constant(-20.0), builder.constant(50.0)
    return [builder.instruct("clamp", low, total, high)]


@pytest.mark.parametrize(
    "build",
    [many_live, all_operands, four_outputs, products, factors, pairs, bounds,
     lambda b: [b.accumulator]],
)  # fmt: skip
def test_any_program_is_exact_on_integers(build):
    epilogue = program_of(build)
    case = Case(2, (3, 7), (2, 37), (1, 1))
    x, kernel, scale, shift, tensor = integers(case)
    by_kind = {"channel": shift, "image": tensor[:, 0, 0], "tensor": tensor}
    operands = [by_kind[kind] for kind in epilogue.program.operands]
    spec = case.spec(x, kernel)
    run = jax.jit(lambda *o: affine_on_cpu(*o, spec=spec, epilogue=epilogue))
    acc = oracle.affine(case.convolve(x, kernel), scale, shift, relu=False).astype(np.float32)
    expected = epilogue.outputs(jnp.asarray(acc), *map(jnp.asarray, operands))
    for isa, got in on_every_isa(lambda: run(x, kernel, scale, shift, *operands)).items():
        for ours, theirs in zip(jax.tree.leaves(got), expected, strict=True):
            assert_same_bits(np.asarray(ours), np.asarray(theirs), isa)


def test_output_in_the_memory_of_an_operand():
    """Which is read before it is written, in tiles that end anywhere."""
    case = CASES["a vector and a lane"]
    x, kernel, scale, shift, tensor = integers(case)
    epilogue = compile_elementwise(lambda acc, t: jnp.abs(acc) - t * t, case.shapes[2], "tensor")
    spec = case.spec(x, kernel)

    def run(in_place):
        def function(*arrays):
            *arrays, tensor = arrays
            return affine_on_cpu(*arrays, tensor * 2, spec=spec, epilogue=epilogue,
                                 in_place=in_place)  # fmt: skip

        return np.asarray(jax.jit(function)(x, kernel, scale, shift, tensor))

    for both in on_every_isa(lambda: (run(True), run(False))).values():
        assert_same_bits(*both, "in place")
