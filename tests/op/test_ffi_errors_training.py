"""Training's targets trust nobody either: wrong shapes and numbers of arrays are errors."""

import pytest

from ffi_calls import (
    BY_BOTH,
    BY_INPUT,
    BY_WEIGHTS,
    CHANNELS,
    KERNEL,
    NORM_GRADIENT,
    NORM_SUMS,
    NORMALIZE,
    POOL_GRADIENT,
    SUM_POOL_GRADIENT,
    X,
    Y,
    refuses,
)

FOUR = [CHANNELS] * 4
# By target: the operands, the outputs or None for the right ones, and what the error says. (XLA
# leaves out a call whose outputs are all empty.)
SHAPES = {
    BY_INPUT: [
        ([Y[1:], KERNEL], None, "d_y has shape"),
        ([(), KERNEL], None, "d_y has shape"),
        ([(1, 5, 4, 6), KERNEL], None, "d_y has shape"),
        ([(2, 4, 4, 6), KERNEL], None, "d_y has shape"),
        ([(2, 5, 4, 7), KERNEL], None, r"d_y has shape \(2, 5, 4, 7\), expected \(2, 5, 4, 6\)"),
        ([Y, (4, 6)], None, "kernel must have rank 3 to 5"),
        ([Y, ()], None, "kernel must have rank 3 to 5"),
        ([Y, (2, 3, 4, 6)], None, r"d_y has shape .* expected \(2, 6, 4, 6\)"),
        ([Y, (9, 3, 4, 6)], None, r"d_y has shape .* expected \(2, 0, 4, 6\)"),
        ([Y, (3, 3, 5, 6)], None, "do not fit x"),
        ([Y, (0, 3, 4, 6)], None, "is empty"),
        ([Y, (3, 3, 4, 0)], None, "is empty"),
        ([Y, KERNEL], [X[1:]], "differ in rank"),
        ([Y, KERNEL], [(1, 5, 4, 4)], "d_y has shape"),
        ([Y, KERNEL], [(2, 6, 4, 4)], "d_y has shape"),
        ([Y], None, "kernel is missing"),
        ([Y, KERNEL, KERNEL], None, "got 3 operands, expected no more than d_y, kernel"),
        ([Y, KERNEL], [X, X], "got 2 results, expected no more than d_x"),
    ],
    BY_WEIGHTS: [
        ([X[1:], Y], None, "differ in rank"),
        ([(), Y], None, "x must have rank 3 to 5"),
        ([(1, 5, 4, 4), Y], None, "d_y has shape"),
        ([(2, 5, 4, 5), Y], None, "do not fit x"),
        ([(2, 0, 4, 4), Y], None, "is empty"),
        ([X, Y[1:]], None, "d_y has shape"),
        ([X, (2, 5, 4, 7)], None, "d_y has shape"),
        ([X, (2, 5, 3, 6)], None, "d_y has shape"),
        ([X, Y], [(3, 4, 6)], "differ in rank"),
        ([X, Y], [(3, 3, 4, 7)], "d_y has shape"),
        ([X, Y], [(3, 3, 3, 6)], "do not fit x"),
        ([X, Y], [(3, 2, 4, 6)], "d_y has shape"),
        ([X], None, "d_y is missing"),
        ([X, Y], [KERNEL, KERNEL], "got 2 results"),
    ],
    BY_BOTH: [
        ([X[1:], KERNEL, Y], None, "differ in rank"),
        ([X, KERNEL[1:], Y], None, "differ in rank"),
        ([X, KERNEL, ()], None, "d_y has shape"),
        ([X, KERNEL, X], None, "d_y has shape"),
        ([(2, 5, 4, 3), KERNEL, Y], None, "do not fit x"),
        ([X, KERNEL, Y], [(2, 5, 4, 3), KERNEL], "d_x has shape"),
        ([X, KERNEL, Y], [(), KERNEL], "d_x has shape"),
        ([X, KERNEL, Y], [X, (3, 3, 4, 5)], "d_kernel has shape"),
        ([X, KERNEL, Y], [X, (6,)], "d_kernel has shape"),
        ([X, KERNEL, Y], [X], "d_kernel is missing"),
        ([X, KERNEL], None, "d_y is missing"),
    ],
    POOL_GRADIENT: [
        ([X[1:], X], None, "window must have length 1 for x of rank 3"),
        ([(), ()], None, "x must have rank 3 to 5"),
        ([(2, 0, 4, 4), X], None, "is empty"),
        ([(2, 5, 4, 0), X], None, "is empty"),
        ([X, X[1:]], None, "d_y has shape"),
        ([X, (1, 5, 4, 4)], None, "d_y has shape"),
        ([X, (2, 5, 4, 5)], None, "d_y has shape"),
        ([X, (2, 4, 4, 4)], None, "d_y has shape"),
        ([X, X], [(2, 5, 4)], "d_x has shape"),
        ([X, X], [(2, 4, 4, 4)], "d_x has shape"),
        ([X], None, "d_y is missing"),
        ([X, X, X], None, "got 3 operands"),
    ],
    SUM_POOL_GRADIENT: [
        ([X], [()], "x must have rank 3 to 5"),
        ([X[1:]], None, "d_y has shape"),
        ([X], [(2, 4, 4, 4)], r"d_y has shape .* expected \(2, 4, 4, 4\)"),
        ([X, X], None, "got 2 operands"),
    ],
    NORMALIZE: [
        ([(6,), *FOUR[:3]], None, "conv must have rank 3 to 5"),
        ([(), *FOUR[:3]], None, "conv must have rank 3 to 5"),
        ([(2, 5, 4, 0), *FOUR[:3]], None, "no channels"),
        ([Y, (5,), *FOUR[:2]], None, r"mean has shape \(5,\), expected \(6,\)"),
        ([Y, (6,), (6, 1), (6,)], None, "scale has shape"),
        ([Y, (6,), (6,), ()], None, "shift has shape"),
        ([Y, *FOUR[:3], (2, 5, 4, 1)], None, "residual has shape"),
        ([Y, *FOUR[:3], ()], None, "residual has shape"),
        ([Y, *FOUR[:3], Y, Y], None, "got 6 operands, expected no more than conv, mean"),
        ([Y, *FOUR[:3]], [X], "y has shape"),
        ([Y, *FOUR[:3]], [(240,)], "y has shape"),
        ([Y, *FOUR[:2]], None, "shift is missing"),
        ([Y, *FOUR[:3]], [Y, Y], "got 2 results"),
    ],
    NORM_SUMS: [
        ([(6,), Y, (6,)], None, "d_y must have rank 3 to 5"),
        ([(), (), (6,)], None, "d_y must have rank 3 to 5"),
        ([(2, 5, 4, 0), (2, 5, 4, 0), (0,)], None, "no channels"),
        ([Y, X, (6,)], None, "conv has shape"),
        ([Y, (240,), (6,)], None, "conv has shape"),
        ([Y, Y, (5,)], None, "mean has shape"),
        ([Y, Y, ()], None, "mean has shape"),
        ([Y, Y, (6,), Y], None, "got 4 operands, expected no more than d_y, conv, mean"),
        ([Y, Y, (6,)], [(5,), (6,)], "plain has shape"),
        ([Y, Y, (6,)], [(6,), ()], "weighted has shape"),
        ([Y, Y], None, "mean is missing"),
        ([Y, Y, (6,)], [(6,)], "weighted is missing"),
    ],
    NORM_GRADIENT: [
        ([(6,), Y, *FOUR], None, "d_y must have rank 3 to 5"),
        ([(2, 5, 4, 0), (2, 5, 4, 0), *[(0,)] * 4], None, "no channels"),
        ([Y, X, *FOUR], None, "conv has shape"),
        ([Y, Y, (5,), *FOUR[:3]], None, "mean has shape"),
        ([Y, Y, (6,), (5,), (6,), (6,)], None, "a has shape"),
        ([Y, Y, (6,), (6,), (), (6,)], None, "b has shape"),
        ([Y, Y, *FOUR[:3], (1, 6)], None, "d has shape"),
        ([Y, Y, *FOUR, Y], None, "got 7 operands"),
        ([Y, Y, *FOUR], [X], "d_conv has shape"),
        ([Y, Y, *FOUR], [(240,)], "d_conv has shape"),
        ([Y, Y, *FOUR], [Y, X], "d_residual has shape"),
        ([Y, Y, *FOUR], [Y, ()], "d_residual has shape"),
        ([Y, Y, *FOUR], [Y, Y, Y], "got 3 results, expected no more than d_conv, d_residual"),
        ([Y, Y, *FOUR[:3]], None, "d is missing"),
    ],
}


@pytest.mark.parametrize(
    ("target", "operands", "outputs", "message"),
    [(target, *row) for target, rows in SHAPES.items() for row in rows],
)
def test_shapes(target, operands, outputs, message):
    refuses(message, target, operands=operands, outputs=outputs)


SOME = (0, 0, 0)
GATES = [
    (NORMALIZE, {"gate": (0,)}, "gate must be none or 3 numbers, got 1"),
    (NORMALIZE, {"gate": (0, 0, 2**32)}, "gate must be the bits of floats"),
    (NORMALIZE, {"gate": (0, -1, 0)}, "gate must be the bits of floats"),
    (NORM_SUMS, {"gate": SOME}, "scale is missing"),
    (NORM_SUMS, {"gate": SOME, "operands": [Y, Y, CHANNELS, X]}, "y has shape"),
    (NORM_SUMS, {"gate": SOME, "operands": [Y, Y, CHANNELS, CHANNELS]}, "y has shape"),
    (NORM_SUMS, {"gate": SOME, "operands": [Y, Y, CHANNELS, Y, Y]}, "scale has shape"),
    (NORM_SUMS, {"gate": SOME, "operands": [Y, Y, *FOUR]}, "got 6 operands"),
    (NORM_SUMS, {"gate": SOME, "silu": True}, "silu must be false beside a gate"),
    (NORM_SUMS, {"silu": True}, "scale is missing"),
    (NORM_SUMS, {"silu": True, "operands": [Y, Y, *[CHANNELS] * 2, X]}, "shift has shape"),
    (NORM_GRADIENT, {"silu": True, "operands": [Y, Y, *FOUR, CHANNELS]}, "shift is missing"),
    (NORM_GRADIENT, {"silu": True, "operands": [Y, Y, *FOUR, Y, CHANNELS]}, "scale has shape"),
    (NORM_GRADIENT, {"gate": SOME}, "scale is missing"),
    (NORM_GRADIENT, {"gate": SOME, "operands": [Y, Y, *FOUR, X]}, "y has shape"),
    (NORM_GRADIENT, {"gate": SOME, "operands": [Y, Y, *FOUR, CHANNELS, X]}, "shift has shape"),
    (NORM_GRADIENT, {"gate": SOME, "operands": [Y, Y, *FOUR, *[CHANNELS] * 3]}, "got 9 operands"),
]


@pytest.mark.parametrize(("target", "bad", "message"), GATES)
def test_gates(target, bad, message):
    refuses(message, target, **bad)
