"""Convolutions as one call, a few rows at a time: what they compute, which rows, and which bits."""

import itertools
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from kernel_case import Case, assert_same_bits, on_every_isa
from resfuse import _ext, ffi
from resfuse.kernel.cascade import Cascade, Part, PartArrays, cascade_on_cpu
from resfuse.kernel.epilogue import ADD, IDENTITY, RELU, compile_elementwise

KIB = 1 << 10
SMALL = 64 * KIB  # of L2, into which none of these images fits
SAME, WIDE = ((1, 1), (1, 1)), ((2, 2), (2, 2))


def parts(batch, size, channels, *layers) -> list[Case]:
    """The convolutions of a cascade: each layer is the channels it makes and the rest of a Case."""
    cases = []
    for made, *rest in layers:
        cases.append(Case(batch, size, (channels, made), *rest))
        size, channels = cases[-1].shapes[2][1:-1], made
    return cases


POINT = (1, 1)
CASCADES = {
    "inverted residual": parts(
        2, (33, 30), 7, (40, POINT), (40, (3, 3), None, SAME, 40), (7, POINT)
    ),
    "with a stride": parts(
        1, (34, 31), 5, (48, POINT), (48, (5, 5), (2, 2), ((1, 2), (2, 1)), 48), (17, POINT)
    ),
    "depthwise first": parts(1, (31, 29), 36, (36, (3, 3), None, SAME, 36), (20, POINT)),
    "depthwise last": parts(3, (30, 31), 6, (33, POINT), (33, (7, 7), None, ((3, 3),) * 2, 33)),
    "groups": parts(1, (29, 30), 32, (64, POINT), (64, (3, 3), (2, 1), SAME, 16), (32, POINT)),
    "windows that follow windows": parts(
        1, (40, 24), 32, *[(32, (3, 3), None, SAME, 32)] * 2, (16, (3, 3), None, SAME)
    ),
    "rows that nobody reads": parts(
        1, (41, 30), 4, (40, POINT), (40, (3, 2), None, WIDE, 40),
        (9, POINT, (3, 2)),
    ),
    "cropped": parts(1, (39, 30), 4, (40, POINT), (24, (3, 3), None, ((-2, 1), (1, -3)))),
    "small images": parts(12, (6, 7), 5, (64, POINT), (64, (3, 3), None, SAME, 64), (8, POINT)),
}  # fmt: skip
IN_CASCADES = pytest.mark.parametrize("cases", CASCADES.values(), ids=CASCADES)


def gated(shape):
    """A program that reads a number for each image and channel, and one for each channel."""
    gate = compile_elementwise(lambda y, g, b: jax.nn.relu6(y) * g + b, shape, "image", "channel")
    return gate, [(shape[0], shape[-1]), shape[-1:]]


def epilogues(cases):
    """With the shapes of their operands: a program, ReLU, and at last a residual or nothing."""
    *others, last = (case.shapes[2] for case in cases)
    every = [gated(others[0]), *[(RELU, [])] * (len(others) - 1)]
    return [*every, (ADD, [last]) if len(cases) == 3 else (IDENTITY, [])]


def call(cases, arrays, packed):
    specs = [case.spec(*arrays[:2]) for case in cases]
    made = [epilogue for epilogue, _ in epilogues(cases)]
    x, each = arrays
    operands = [PartArrays(w, *rest) for w, rest in zip(packed, each, strict=True)]
    return cascade_on_cpu(x, *operands, static=Cascade(tuple(map(Part, specs, made))))[0]


def draw(cases, number):
    """``x``, and of each part kernel, scale, shift and operands; ``number(shape)`` draws one."""
    each = []
    for case, (_, shapes) in zip(cases, epilogues(cases), strict=True):
        _, kernel, out = case.shapes
        each.append(
            (number(kernel), number(out[-1:]), number(out[-1:]), tuple(map(number, shapes)))
        )
    return number(cases[0].shapes[0]), each


def integers(random):
    """Of which all sums here are exact in float32, in any order."""
    return lambda shape: random.integers(-1, 2, shape).astype(np.float32)


def expected(cases, arrays):
    y, each = arrays
    for case, (epilogue, _), (kernel, scale, shift, operands) in zip(
        cases, epilogues(cases), each, strict=True
    ):
        y = case.convolve(y, kernel) * scale + shift
        if len(operands) == 2:
            y = np.clip(y, 0, 6) * operands[0][:, None, None] + operands[1]
        elif operands:
            y = y + operands[0]
        elif epilogue is RELU:
            y = np.maximum(y, 0)
    return y.astype(np.float32)


@pytest.fixture
def with_l2() -> Iterator[None]:
    """Sets L2 for what runs, until the test ends."""
    l1d, l2, l3 = _ext.machine()
    yield lambda size: _ext.use_machine(l1d, size, l3)
    _ext.use_machine(l1d, l2, l3)


@pytest.fixture(scope="module")
def program():
    """All cascades on weights of every ISA, as one program, of their arrays."""

    def run(every):
        def packed(cases, arrays):
            return [
                ffi.pack(kernel, case.spec(None, None))
                for case, (kernel, *_) in zip(cases, arrays[1], strict=True)
            ]

        return on_every_isa(
            lambda: [
                call(cases, arrays, packed(cases, arrays))
                for cases, arrays in zip(CASCADES.values(), every, strict=True)
            ]
        )

    return jax.jit(run)


def test_exact(program, with_l2):
    """On integers, against the parts one by one."""
    every = [draw(cases, integers(np.random.default_rng(0))) for cases in CASCADES.values()]
    with_l2(SMALL)
    for isa, results in program(every).items():
        for (name, cases), arrays, y in zip(CASCADES.items(), every, results, strict=True):
            assert_same_bits(np.asarray(y), expected(cases, arrays), f"{name} on {isa}")


def test_same_bits_at_once_and_in_bands(program, with_l2):
    random = np.random.default_rng(0)
    every = [
        draw(cases, lambda shape: random.normal(size=shape).astype(np.float32))
        for cases in CASCADES.values()
    ]
    results = []
    for l2 in (SMALL, 512 * KIB, 1 << 40):
        with_l2(l2)
        results.append(jax.tree.map(np.asarray, program(every)))
    for isa, first in results[0].items():
        for other, (name, y) in itertools.product(results[1:], zip(CASCADES, first, strict=True)):
            at = list(CASCADES).index(name)
            assert_same_bits(other[isa][at], y, f"{name} on {isa}")


def plan(cases, threads=1, l2=SMALL):
    specs = [case.spec(None, None) for case in cases]
    arguments = [
        (case.shapes[1], spec.strides, spec.pixels, spec.input_dilation, spec.kernel_dilation,
         spec.feature_group_count, False)
        for case, spec in zip(cases, specs, strict=True)
    ]  # fmt: skip
    return _ext.cascade_plan(cases[0].shapes[0], arguments, threads=threads, l2=l2)


@IN_CASCADES
def test_each_row_is_there_when_it_is_read(cases):
    heights = [case.shapes[2][1] for case in cases]
    for threads in (1, 2):
        made_rows = []
        for unit in (made := plan(cases, threads))["units"]:
            held = [range(0)] * (len(cases) - 1)
            for part, read, rows, kept in unit:
                assert rows[0] < rows[1] <= heights[part]
                if part > 0:
                    assert held[part - 1].start <= read[0] < read[1] <= held[part - 1].stop
                if part == len(cases) - 1:
                    made_rows += range(*rows)
                    continue
                # What it keeps was there, and what it makes was not.
                assert set(range(kept[0], rows[0])) <= set(held[part])
                assert kept[1] == rows[1] > held[part].stop - 1
                assert len(range(*kept)) * made["images"] <= made["buffer_floats"][part]
                held[part] = range(*kept)
        assert made["pays"]
        assert made_rows == list(range(heights[-1]))
        assert made["images"] * made["groups"] == cases[0].batch


def test_what_is_small_runs_apart():
    """One thread's cache holds it, and the weights are more than what two would exchange."""
    small = parts(1, (7, 7), 160, (960, POINT), (960, (3, 3), None, SAME, 960), (160, POINT))
    assert [plan(small, threads, 2048 * KIB)["pays"] for threads in (1, 2)] == [False, False]
    wide = parts(1, (28, 28), 32, (192, POINT), (192, (3, 3), None, SAME, 192), (32, POINT))
    assert [plan(wide, threads, 2048 * KIB)["pays"] for threads in (1, 2)] == [False, True]
    # Units of a row, for each of which three would be expanded, and all weights read.
    assert not plan(small, 64, 2048 * KIB)["pays"]


NONE = {
    "image dilation": parts(
        1, (8, 8), 4, (6, POINT), (6, POINT, None, None, 1, True, True, None, (2, 2))
    ),
    "a dilated window": parts(
        1, (12, 12), 4, (6, POINT), (6, (3, 3), None, None, 1, True, True, (2, 2))
    ),
    "rows of padding alone": parts(1, (8, 8), 4, (6, POINT), (6, (3, 3), None, ((3, 0), (1, 1)))),
    "one dimension": parts(1, (8,), 4, (6, (1,)), (6, (3,))),
}  # fmt: skip


@pytest.mark.parametrize("cases", NONE.values(), ids=NONE)
def test_what_makes_no_cascade(cases):
    assert plan(cases) is None


def test_winograd_makes_no_cascade():
    """Its bits are others, so no machine's caches may decide about it."""
    cases = parts(1, (56, 56), 64, (64, POINT), (64, (3, 3), None, SAME))
    shapes = [case.shapes[1] for case in cases]
    for precision, is_one in ((None, False), ("highest", True)):
        specs = [case.spec(None, None, precision) for case in cases]
        assert ffi.is_cascade(cases[0].shapes[0], shapes, specs) == is_one
