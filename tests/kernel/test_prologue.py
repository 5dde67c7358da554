"""What comes before a convolution, on integers: bit for bit on every ISA."""

import functools

import jax
import numpy as np

import oracle
from kernel_case import Case, assert_same_bits, integers, on_every_isa
from resfuse import ffi
from resfuse.kernel.affine import affine_on_cpu
from resfuse.kernel.epilogue import IDENTITY
from resfuse.kernel.prologue import MAX_PARTS, Prologue

# How far each goes: nothing, a scale for each channel or image, a shift too, ReLU too.
KINDS = {
    "concatenated": (None, False, None),
    "scaled": ("channel", False, None),
    "gated": ("image", False, None),
    "affine": ("channel", True, None),
    "affine by image": ("image", True, None),
    "affine and relu": ("channel", True, jax.nn.relu),
}

# Channels of the parts around the widths of vectors, and the convolution of all of them.
CASES = [
    ((24,), Case(2, (5, 7), (24, 33), (1, 1))),
    ((15, 17, 16), Case(2, (5, 6), (48, 20), (1, 1))),
    ((3, 1, 7, 9, 4, 5, 8), Case(2, (7, 5), (37, 16), (1, 1), strides=(2, 3))),
    ((33, 31, 2), Case(2, (9, 8), (66, 5), (1, 1), residual=False, relu=False)),
    ((1024, 64), Case(2, (19, 12), (1088, 32), (1, 1), strides=(1, 2))),  # several blocks
    (tuple(range(1, MAX_PARTS + 1)), Case(1, (4, 3), (351, 18), (1, 1))),
    ((8, 9), Case(2, (11,), (17, 3), (1,), strides=(2,))),
    # Scales go into the weights of images with four times as many pixels as outputs: in one block
    # and in several, which end within images; in just as many, and one less; in none.
    ((24,), Case(3, (12, 11), (24, 33), (1, 1))),
    ((300,), Case(3, (23, 21), (300, 40), (1, 1))),
    ((17,), Case(2, (8, 8), (17, 16), (1, 1))),
    ((17,), Case(2, (9, 7), (17, 16), (1, 1), residual=False)),
    ((8,), Case(0, (9, 8), (8, 5), (1, 1))),
    ((5, 6), Case(2, (2, 3, 4), (11, 10), (1, 1, 1), strides=(2, 1, 1))),
]

# Windows that have parts alone, which are joined for the direct algorithm.
WIDE = [
    ((16, 32), Case(2, (6, 5), (48, 20), (3, 3), padding=((1, 1), (0, 2)), strides=(1, 2))),
    ((5, 2, 9), Case(1, (7,), (16, 36), (3,), image_dilation=(2,))),
    ((3, 4), Case(0, (5, 4), (7, 6), (3, 3))),
]
# By Winograd's: in one pass and in several, which cut parts; with a stride; of parts that are no
# whole vectors. Channels are many, and outputs as many as make all of them pay.
TRANSFORMED = [
    ((32, 16), Case(2, (9, 14), (48, 40), (3, 3), padding=((1, 1), (1, 1)))),
    ((48, 96, 16, 480), Case(1, (12, 12), (640, 40), (3, 3), padding=((0, 1), (1, 0)))),
    ((64, 80), Case(4, (33, 32), (144, 32), (3, 3), strides=(2, 2))),
    ((31, 33), Case(2, (12, 12), (64, 32), (3, 3))),
]


def prologue_of(parts, kind):
    scale, shift, relu = KINDS[kind]
    return Prologue(len(parts), scale, shift, relu)


def split(x, parts):
    return np.split(x, np.cumsum(parts)[:-1], axis=-1)


def numbers(case, prologue):
    """Scales of powers of two, and shifts: every result is exact in float32."""
    random = np.random.default_rng(1)
    channels = case.channels[:1]
    found = []
    if prologue.scale:
        shape = (case.batch, *channels) if prologue.scale == "image" else channels
        found.append(random.choice([-2.0, -0.5, 0.0, 1.0, 4.0], shape).astype(np.float32))
    if prologue.shift:
        found.append(random.integers(-6, 7, channels).astype(np.float32))
    return found


def transformed(x, prologue, found):
    """The oracle's."""
    if prologue.scale:
        scale = found[0]
        by_image = scale.ndim > 1
        x = x * (np.expand_dims(scale, tuple(range(1, x.ndim - 1))) if by_image else scale)
    if prologue.shift:
        x = x + found[1]
    return np.maximum(x, 0) if prologue.relu else x


def compiled(runs, operands):
    """One program for all; weights are packed in every other."""

    def call(index, case, parts, kind, x, kernel, *rest):
        prologue, spec = prologue_of(parts, kind), case.spec(x, kernel)
        images = [*split(x, parts), *numbers(case, prologue)]
        packed = ffi.pack(kernel, spec) if index % 2 else None
        return affine_on_cpu(*images, kernel, *rest, spec=spec, epilogue=case.epilogue,
                             packed=packed, prologue=prologue)  # fmt: skip

    def every():
        pairs = zip(runs, operands, strict=True)
        return [call(index, *run, *arrays) for index, (run, arrays) in enumerate(pairs)]

    return jax.jit(every)


def test_exact():
    runs = [(case, parts, kind) for parts, case in CASES for kind in KINDS]
    runs += [(case, parts, "concatenated") for parts, case in WIDE]
    operands = [integers(case) for case, _, _ in runs]
    # The shape of packed weights follows the ISA, so each has a program of its own.
    results = on_every_isa(lambda: jax.tree.map(np.asarray, compiled(runs, operands)()))
    for at, (case, parts, kind) in enumerate(runs):
        x, kernel, *rest = operands[at]
        prologue = prologue_of(parts, kind)
        x = transformed(x, prologue, numbers(case, prologue))
        expected = oracle.affine(case.convolve(x, kernel), *rest, relu=case.relu)
        for isa, together in results.items():
            what = f"{case} of {parts}, {kind}, on {isa}"
            assert_same_bits(together[at], expected.astype(np.float32), what)


def test_transforms_read_parts_as_one_image():
    """With the bits of the same convolution of the joined images."""

    def both():
        for parts, case in TRANSFORMED:
            x, kernel, *rest = integers(case)
            spec = case.spec(x, kernel, precision=None)
            assert case.algorithm() == "winograd"
            call = functools.partial(affine_on_cpu, spec=spec, epilogue=case.epilogue)
            prologue = prologue_of(parts, "concatenated")
            yield call(*split(x, parts), kernel, *rest, prologue=prologue), call(x, kernel, *rest)

    results = on_every_isa(lambda: jax.tree.map(np.asarray, jax.jit(lambda: list(both()))()))
    for isa, pairs in results.items():
        for (_, case), (apart, joined) in zip(TRANSFORMED, pairs, strict=True):
            assert_same_bits(apart, joined, f"{case} on {isa}")


def test_what_is_not_finite_passes_as_in_jax():
    """NaN stays NaN behind ReLU; each pixel of a single channel is by itself."""
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0], np.float32).reshape(1, -1, 1)
    prologue = Prologue(1, "channel", True, jax.nn.relu)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    spec = Case(1, (7,), (1, 1), (1,)).spec(x, x)
    call = functools.partial(affine_on_cpu, spec=spec, epilogue=IDENTITY, prologue=prologue)
    results = on_every_isa(lambda: call(x, one, zero, np.ones((1, 1, 1), np.float32), one, zero))
    for isa, y in results.items():
        np.testing.assert_array_equal(y, np.maximum(x, 0), err_msg=isa)
