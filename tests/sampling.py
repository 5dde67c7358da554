"""A part of a table of cases for every run; the rest are long tests, of which CI draws some."""

import pytest


def some(count, cases):
    """``cases`` as parameters of a test, of which ``count``, evenly spread, are not long."""
    cases = list(cases)
    return long_but([cases[index * len(cases) // count] for index in range(count)], cases)


def halves(cases):
    """Every other of ``cases`` by name, and the rest: where one program has all of a half."""
    return [dict([*cases.items()][first::2]) for first in range(2)]


def long_but(kept, cases):
    """``cases`` as parameters of a test, all of them long but ``kept``; tuples are several."""
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else [case]),
            marks=[] if case in kept else pytest.mark.long,
        )
        for case in cases
    ]
