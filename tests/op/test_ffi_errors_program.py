"""Programs that no builder makes: each is an error that says what is wrong."""

import pytest

from ffi_calls import AFFINE, CHANNELS, KERNEL, X, Y, call, refuses
from resfuse import ffi
from resfuse.kernel.program import MAX_INSTRUCTIONS, MAX_OPERANDS

ADD, NEG, SELECT = (ffi.operations().index(name) for name in ("add", "neg", "select_n"))
COUNT = len(ffi.operations())
PROGRAMS = {  # the attributes, and what the error says
    "no such operation": ({"code": (COUNT, 0)}, f"operation {COUNT}, expected less than {COUNT}"),
    "negative operation": ({"code": (-1, 0)}, "instruction 0 of code is operation -1"),
    "huge operation": ({"code": (NEG, 0, 2**40, 0)}, "instruction 1 of code is operation 1099"),
    "cut": ({"code": (ADD, 0)}, "instruction 0 of code, add, takes 2 registers, and code ends"),
    "cut at once": ({"code": (NEG, 0, SELECT)}, "instruction 1 of code, select_n, takes 3"),
    "later register": ({"code": (NEG, 1)}, r"takes the registers \(1,\), expected less than 1"),
    "negative register": ({"code": (ADD, 0, -1)}, r"takes the registers \(0, -1\), expected less"),
    "huge register": ({"code": (NEG, 2**33)}, r"takes the registers \(8589934592,\)"),
    "too long": ({"code": (NEG, 0) * (MAX_INSTRUCTIONS + 1)}, "more than 48 instructions"),
    "far too long": ({"code": (NEG, 0) * 100_000}, "more than 48 instructions"),
    "constant beyond the bits": ({"constants": (2**32,)}, "constants must be the bits of floats"),
    "negative constant": ({"constants": (0, -1)}, "constants must be the bits of floats"),
    "many constants": ({"constants": (0,) * 101}, "got 101 constants, expected at most 100"),
    "returns nothing": ({"returned": ()}, r"returned must be one to 4 registers below 1, got \(\)"),
    "returns too much": ({"returned": (0,) * 5}, "returned must be one to 4 registers below 1"),
    "returns what is not there": ({"returned": (1,)}, "returned must be one to 4 registers below"),
    "returns before all": ({"returned": (-1,)}, "returned must be one to 4 registers below 1"),
    "returns more than results": ({"returned": (0, 0)}, "output_1 is missing"),
}


@pytest.mark.parametrize(("bad", "message"), PROGRAMS.values(), ids=PROGRAMS)
def test_programs(bad, message):
    refuses(message, AFFINE, **bad)


def test_more_results_than_returned():
    refuses("got 2 results, expected no more than y", AFFINE, outputs=[Y, Y])


def test_another_result_of_another_shape():
    refuses("output_1 has shape .* expected", AFFINE, outputs=[Y, X], returned=(0, 0))


def test_the_longest_program_works():
    """With all operands, constants and results that there may be."""
    first = 1 + MAX_OPERANDS + 100
    code = tuple(
        number for n in range(MAX_INSTRUCTIONS) for number in (ADD, n % (first + n), first + n - 1)
    )
    results = call(
        AFFINE,
        operands=[X, KERNEL, CHANNELS, CHANNELS, *[Y, CHANNELS, (2, 6)] * 2, Y, CHANNELS],
        outputs=[Y] * 4,
        code=code,
        constants=(0,) * 100,
        returned=(0, 3, first - 1, first + MAX_INSTRUCTIONS - 1),
    )
    assert [y.shape for y in results] == [Y] * 4
