"""Which algorithm the kernel takes, and how a user forces one."""

import pytest

from kernel_case import Case, on_every_isa
from resfuse import ffi
from resfuse.spec import ConvSpec

SAME = ((1, 1), (1, 1))
EVERYWHERE = {  # on every instruction set
    Case(1, (56, 56), (64, 64), (3, 3), padding=SAME): "winograd",
    Case(8, (7, 7), (512, 512), (3, 3), padding=SAME): "winograd",
    Case(1, (14, 14), (1024, 32), (3, 3), padding=SAME): "winograd",
    Case(1, (7, 7), (32, 32), (3, 3), padding=SAME): "winograd",
    Case(1, (6, 6), (512, 512), (3, 3), padding=SAME): "winograd",
    Case(1, (4, 4), (512, 512), (3, 3), padding=SAME): "direct",
    Case(8, (2, 2), (512, 512), (3, 3), padding=SAME): "winograd",
    Case(4, (2, 2), (512, 512), (3, 3), padding=SAME): "direct",
    Case(1, (3, 3), (512, 512), (3, 3), padding=SAME): "direct",
    Case(1, (7, 7), (1040, 512), (3, 3), padding=SAME): "direct",
    Case(1, (7, 7), (31, 512), (3, 3), padding=SAME): "direct",
    Case(1, (56, 56), (64, 64), (3, 3), (2, 2), SAME): "winograd",
    Case(1, (28, 28), (256, 256), (3, 3), (2, 2), SAME): "winograd",
    Case(8, (14, 14), (512, 512), (3, 3), (2, 2), SAME): "direct",
    Case(1, (14, 14), (512, 512), (3, 3), (2, 2), SAME): "direct",
    Case(1, (8, 8), (256, 512), (3, 3), (2, 2), SAME): "direct",
    Case(1, (56, 56), (64, 64), (3, 3), (2, 1), SAME): "direct",
    Case(1, (56, 56), (64, 256), (1, 1)): "direct",
    Case(1, (14, 14), (1024, 256), (1, 1)): "direct",
    Case(1, (224, 224), (3, 64), (7, 7), (2, 2), ((3, 3), (3, 3))): "direct",
    Case(1, (56, 56), (64, 64), (3, 3), padding=SAME, groups=64): "grouped",
    Case(1, (56, 56), (128, 128), (3, 3), (2, 2), SAME, groups=32): "grouped",
    Case(1, (56, 56), (64, 128), (3, 3), padding=SAME, groups=64): "direct",
    Case(1, (56, 56), (1024, 1024), (3, 3), padding=SAME, groups=32): "direct",
    Case(0, (56, 56), (64, 64), (3, 3), padding=SAME): "direct",
}
# Whole vectors of channels: 16 at most, or 4 at least.
LANES = {"avx512": 16, "avx2": 8, "generic": 4}
CONV = Case(2, (12, 12), (32, 32), (3, 3), padding=SAME)
SMALL = Case(1, (2, 2), (16, 8), (3, 3), padding=SAME)
DEPTHWISE = Case(2, (12, 12), (32, 32), (3, 3), padding=SAME, groups=32)
ODD = Case(2, (12, 12), (33, 33), (3, 3), padding=SAME)
FORCED = {  # what each then takes, in the order of its cases
    "fastest": ("winograd", "direct", "grouped", "direct"),
    "winograd": ("winograd", "winograd", "grouped", "direct"),
    "direct": ("direct", "direct", "grouped", "direct"),
}


def on_all(case, *options):
    (algorithm,) = set(on_every_isa(lambda: case.algorithm(*options)).values())
    return algorithm


@pytest.mark.parametrize(("case", "algorithm"), EVERYWHERE.items(), ids=repr)
def test_on_every_isa(case, algorithm):
    assert on_all(case) == algorithm


@pytest.mark.parametrize("channels", [36, 40, 48, 64])
def test_winograd_takes_whole_vectors(channels):
    case = Case(1, (28, 28), (channels, 64), (3, 3), padding=SAME)
    for isa, algorithm in on_every_isa(case.algorithm).items():
        assert algorithm == ("direct" if channels % LANES[isa] else "winograd"), isa


@pytest.mark.parametrize("precision", ["high", "highest"])
def test_a_precision_is_direct(precision, force):
    for name in FORCED:
        force(name)
        assert on_all(CONV, precision) == "direct"
    assert on_all(DEPTHWISE, precision) == "grouped"


@pytest.mark.parametrize(("name", "algorithms"), FORCED.items())
def test_force_algorithm(name, algorithms, force):
    force(name)
    assert tuple(map(on_all, (CONV, SMALL, DEPTHWISE, ODD))) == algorithms


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="do not fit x"):
        ffi.algorithm((1, 4, 4, 3), (3, 3, 4, 6), ConvSpec((1, 1), SAME, (1, 1), (1, 1), 1, None))


@pytest.mark.parametrize("name", ["", "Winograd", "grouped", "gemm"])
def test_no_such_algorithm(name):
    with pytest.raises(ValueError, match=r"RESFUSE_ALGORITHM must be one of .*'direct'.* got"):
        ffi.force_algorithm(name)
    assert on_all(CONV) == "winograd"


@pytest.mark.parametrize("name", ["", *FORCED])
@pytest.mark.usefixtures("force")
def test_environment(name):
    """What is read when the package is imported, see ``test_without_extension.py``."""
    ffi._obey({"RESFUSE_ALGORITHM": name})
    assert tuple(map(on_all, (CONV, SMALL))) == FORCED[name or "fastest"][:2]


def test_environment_with_no_such_algorithm():
    with pytest.raises(ValueError, match=r"RESFUSE_ALGORITHM must be one of .* got 'fast'"):
        ffi._obey({"RESFUSE_ALGORITHM": "fast"})
