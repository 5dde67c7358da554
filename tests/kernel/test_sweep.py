"""Random shapes on random integers, gradients too, for as long as the box allows.

Bit for bit, or to the nearest integer where Winograd's algorithm may run.

    RESFUSE_SWEEP_SEED=7 RESFUSE_SWEEP_CASE=123 python -m pytest tests/kernel/test_sweep.py

runs one case again; a failure prints its line. Without a seed every run draws another.
"""

import itertools
import os
import random
import time

import jax
import pytest

import gradient_case
from kernel_case import Case, assert_exact, assert_packed

SECONDS = 3
FEWEST = 25  # cases, on however slow a machine
MOST_WORK = 8_000_000
PROGRAMS = 100  # kept by JAX before they are dropped


@pytest.fixture
def seed():
    """Given, or drawn when pytest starts, whose header prints it."""
    return os.environ["RESFUSE_SWEEP_SEED"]


def random_case(generator):
    """Any case that has pixels and takes milliseconds."""
    while True:
        case = _random_case(generator)
        if 0 < case.work <= MOST_WORK:
            return case


def _random_case(generator):
    def small(most):
        """1 to ``most``, small ones more often."""
        return int(most ** generator.random())

    def channels(groups):
        """In and out; of several groups, half the time as many and few, which run by shuffles."""
        few = generator.choice([1, 2, 4, 8, 16]) * groups
        if groups > 1 and generator.random() < 0.5:
            return few, few
        many = 140 / groups**0.5
        return groups * small(many), groups * small(many)

    def sides(draw):
        return tuple(draw() for _ in range(dimensions))

    def pad():
        return generator.choice([0, 0, 1, window[0] // 2, small(20), -small(4)])

    dimensions = generator.choice([1, 2, 2, 2, 3])
    window = sides(lambda: small(8))
    groups = generator.choice([1, 1, 1, small(40)])
    dilated = generator.random() < 0.4
    return Case(
        small(9),
        sides(lambda: small(60)),
        channels(groups),
        window,
        sides(lambda: generator.choice([1, 1, 2, 3, 4])),
        sides(lambda: (pad(), pad())),
        groups,
        generator.random() < 0.5,
        generator.random() < 0.5,
        sides(lambda: generator.choice([1, 1, 2, 3, small(20)]) if dilated else 1),
        sides(lambda: generator.choice([1, 1, 2, 3, 4, small(9)]) if dilated else 1),
    )


def check(seed, index):
    case = random_case(random.Random(f"{seed} {index}"))
    try:
        assert_exact(case, seed=index)
        assert_packed(case, seed=index)
        gradient_case.assert_exact(case, seed=index)
        gradient_case.assert_nearest_integers(case, seed=index)
    except Exception as error:
        line = f"RESFUSE_SWEEP_SEED={seed} RESFUSE_SWEEP_CASE={index}"
        raise AssertionError(
            f"{error}\nreproduce: {line} python -m pytest tests/kernel/test_sweep.py"
        ) from error


def indices():
    """Those of the cases to run: one, or as many as fit into the box."""
    if "RESFUSE_SWEEP_CASE" in os.environ:
        yield int(os.environ["RESFUSE_SWEEP_CASE"])
        return
    end = time.monotonic() + SECONDS
    for index in itertools.count():
        if index >= FEWEST and time.monotonic() > end:
            return
        yield index


def test_sweep(seed):
    for index in indices():
        check(seed, index)


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, 10_000, PROGRAMS))
def test_ten_thousand_shapes(seed, first):
    for index in range(first, first + PROGRAMS):
        check(seed, index)
    jax.clear_caches()
