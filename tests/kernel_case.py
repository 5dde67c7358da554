"""One convolution for the kernel's tests: its shapes, arrays for it, and what each ISA returns."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from jax import lax

import oracle
import winograd_oracle
from resfuse import ffi
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.epilogue import ADD, ADD_RELU, IDENTITY, RELU
from resfuse.kernel.train import conv_statistics
from resfuse.spec import ConvSpec
from sampling import some


@dataclasses.dataclass(frozen=True)
class Case:
    batch: int
    size: tuple[int, ...]
    channels: tuple[int, int]
    window: tuple[int, ...]
    strides: tuple[int, ...] | None = None  # None: all 1, and so are the dilations
    padding: tuple[tuple[int, int], ...] | None = None
    groups: int = 1
    residual: bool = True
    relu: bool = True
    dilation: tuple[int, ...] | None = None  # of the window
    image_dilation: tuple[int, ...] | None = None

    def __post_init__(self):
        sides = len(self.size)
        for name in ("strides", "dilation", "image_dilation"):
            object.__setattr__(self, name, getattr(self, name) or (1,) * sides)
        object.__setattr__(self, "padding", self.padding or ((0, 0),) * sides)

    @property
    def geometry(self):
        """As the oracle takes it."""
        return self.strides, self.padding, self.groups, self.dilation, self.image_dilation

    @property
    def shapes(self):
        """Of image, kernel and output."""
        image = (self.batch, *self.size, self.channels[0])
        kernel = (*self.window, self.channels[0] // self.groups, self.channels[1])
        spec = self.spec(np.empty(image), np.empty(kernel))
        return image, kernel, spec.output_shape(image, kernel)

    @property
    def work(self):
        """Multiply-adds."""
        _, kernel, out = self.shapes
        return int(np.prod(kernel[:-1])) * int(np.prod(out))

    def spec(self, x, kernel, precision="highest"):
        """By default at the highest precision, which only the direct algorithm has."""
        del x, kernel
        precision = None if precision is None else lax.Precision(precision)
        return ConvSpec(self.strides, self.padding, self.image_dilation, self.dilation, self.groups,
                        precision)  # fmt: skip

    @property
    def epilogue(self):
        if self.residual:
            return ADD_RELU if self.relu else ADD
        return RELU if self.relu else IDENTITY

    def algorithm(self, precision=None):
        """What the kernel takes on the ISA in use."""
        image, kernel, _ = self.shapes
        spec = self.spec(np.empty(image), np.empty(kernel), precision)
        return ffi.algorithm(image, kernel, spec)

    def convolve(self, x, kernel):
        return oracle.convolve(x, kernel, *self.geometry)


def integers(case, seed=0):
    """Operands on which every sum is exact in float32, in any order."""
    random = np.random.default_rng(seed)
    image, kernel, out = case.shapes
    x, kernel = (random.integers(-4, 5, shape) for shape in (image, kernel))
    scale = random.choice([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 4.0], out[-1:])
    shift = random.integers(-30, 31, out[-1:])
    residual = [random.integers(-30, 31, out)] if case.residual else []
    return [a.astype(np.float32) for a in (x, kernel, scale, shift, *residual)]


def normals(case, seed=0):
    """Operands like those of a network."""
    random = np.random.default_rng(seed)
    image, kernel, out = case.shapes
    shapes = [image, kernel, out[-1:], out[-1:], *([out] if case.residual else [])]
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def in_programs(cases, size=16, share=1):
    """Parametrizes a test by ``cases``, as many at a time as share a program.

    Making one takes far longer than what these run. Cases are dealt out, so that each program has
    some from every part of the table. One of ``share`` programs is for every run, the others are
    long tests.
    """
    cases = tuple(cases)
    count = -(-len(cases) // size)
    parts = [cases[first::count] for first in range(count)]
    numbers = some(-(-len(parts) // share), range(len(parts)))
    return pytest.mark.parametrize(
        "cases",
        [pytest.param(parts[n.values[0]], marks=n.marks, id=str(n.values[0])) for n in numbers],
    )


def compiled(case, operands, precision="highest"):
    """Both calls as one program, because compiling takes longer than running.

    Returns a function without arguments, for ``(affine, conv, mean, var)`` on the ISA in use.
    """
    run = compiled_together([case], [operands], precision)
    return lambda: run()[0]


def compiled_together(cases, operands, precision="highest"):
    """:func:`compiled` of each case, in one program for all."""

    def both(case, x, kernel, *rest):
        spec = case.spec(x, kernel, precision)
        y = affine_on_cpu(x, kernel, *rest, spec=spec, epilogue=case.epilogue)
        return y, *conv_statistics(spec, x, kernel)

    program = jax.jit(lambda operands: [both(c, *o) for c, o in zip(cases, operands, strict=True)])
    return lambda: jax.tree.map(np.asarray, program(operands))


def compiled_packed(case, operands, precision=None):
    """The affine call on weights as they are and as each ISA packs them, as one program.

    Returns a function of the operands, for ``(unpacked, {isa: packed})``: the first is on the ISA
    in use, the others on their own, whatever is in use.
    """
    run = compiled_packed_together([case], [operands], precision)
    return lambda *operands: run([list(operands)])[0]


def compiled_packed_together(cases, operands, precision=None):
    """:func:`compiled_packed` of each case, in one program: a function of all their operands."""

    def every_way(case, x, kernel, *rest):
        spec = case.spec(x, kernel, precision)
        call = functools.partial(affine_on_cpu, spec=spec, epilogue=case.epilogue)
        packed = on_every_isa(lambda: ffi.pack(kernel, spec))
        by_isa = {isa: call(x, kernel, *rest, packed=w) for isa, w in packed.items()}
        return call(x, kernel, *rest), by_isa

    def all_cases(operands):
        return [every_way(case, *each) for case, each in zip(cases, operands, strict=True)]

    program = jax.jit(all_cases).lower(operands).compile()
    return lambda operands: jax.tree.map(np.asarray, program(operands))


def on_every_isa(call):
    """``{isa: call()}``: the ISA is chosen when the kernel runs, so one program serves all."""
    assert ffi.available(), ffi.unavailable_reason()
    before, results = ffi.isa(), {}
    try:
        for isa in ffi.isas():
            ffi.force_isa(isa)
            results[isa] = call()
    finally:
        ffi.force_isa(before)
    return results


def assert_exact(*cases, seed=0):
    """Holds the kernel against the oracle on integers: images and means bit for bit."""
    operands = [integers(case, seed) for case in cases]
    results = on_every_isa(compiled_together(cases, operands))
    for at, (case, (x, kernel, *rest)) in enumerate(zip(cases, operands, strict=True)):
        conv = case.convolve(x, kernel)
        mean, variance = oracle.statistics(conv)
        expected = (oracle.affine(conv, *rest, relu=case.relu), conv, mean)
        _, tolerance = oracle.statistics_tolerance(conv)
        for isa, together in results.items():
            *got, var = together[at]
            for name, ours, theirs in zip(("affine", "conv", "mean"), got, expected, strict=True):
                assert_same_bits(ours, theirs.astype(np.float32), f"{name} of {case} on {isa}")
            assert (abs(var - variance) <= tolerance).all(), f"var of {case} on {isa}"


def assert_packed(*cases, seed=0):
    """Holds packed weights against unpacked ones, bit for bit, and on integers the oracle."""
    rounding, exact = ([draw(case, seed) for case in cases] for draw in (normals, integers))
    run = compiled_packed_together(cases, rounding)
    results = on_every_isa(lambda: run(rounding))
    for at, case in enumerate(cases):
        for in_use, together in results.items():
            for isa, got in together[at][1].items():
                what = f"{case} packed for {isa}, with {in_use} in use"
                assert_same_bits(got, results[isa][at][0], what)
    for case, (x, kernel, *rest), (_, packed) in zip(cases, exact, run(exact), strict=True):
        y = oracle.affine(case.convolve(x, kernel), *rest, relu=case.relu)
        algorithms = on_every_isa(case.algorithm)
        for isa, got in packed.items():
            if algorithms[isa] == "winograd":
                assert np.abs(got - y).max() <= winograd_oracle.TOLERANCE * np.abs(y).max(), isa
            else:
                assert_same_bits(got, y.astype(np.float32), f"{case} packed for {isa}")


def assert_same_bits(got, expected, what):
    assert got.shape == expected.shape, what
    wrong = np.argwhere(got.view(np.uint32) != expected.view(np.uint32))
    if len(wrong):
        at = tuple(wrong[0].tolist())
        message = f"{what}: {len(wrong)} of {got.size} differ, first at {at}"
        raise AssertionError(f"{message}: {got[at]!r}, expected {expected[at]!r}")


def assert_padding_is_zeros(cases):
    """On every ISA the bits are those with zeros in the image in place of padding.

    So a pixel's bits depend neither on its place in a tile nor on the edge of the image.
    """
    inside = []
    for case in cases:
        size = tuple(n + sum(pads) for n, pads in zip(case.size, case.padding, strict=True))
        inside.append(dataclasses.replace(case, size=size, padding=((0, 0),) * len(size)))
    operands = [normals(case) for case in cases]
    wide = [
        [np.pad(x, ((0, 0), *case.padding, (0, 0))), *rest]
        for case, (x, *rest) in zip(cases, operands, strict=True)
    ]
    run = compiled_together(cases + inside, operands + wide)
    for isa, results in on_every_isa(run).items():
        halves = zip(cases, results[: len(cases)], results[len(cases) :], strict=True)
        for case, (got, *_), (expected, *_) in halves:
            assert_same_bits(got, expected, f"{case} on {isa}")
