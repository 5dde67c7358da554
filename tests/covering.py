"""Tables in which every two values of two axes meet in some row, far shorter than the product."""

import itertools
import random


def covering(axes, valid, seed=0, candidates=8):
    """Rows, as dictionaries, of ``axes``: values by name. Only rows that are ``valid`` count.

    Greedy, after Cohen et al. 1997 (AETG): around a pair that is still missing, the one of some
    random rows that meets most of the missing pairs. The same table every time.
    """
    generator = random.Random(seed)
    missing = dict.fromkeys(
        itertools.chain.from_iterable(
            _pairs(dict(zip((a, b), values, strict=True)))
            for a, b in itertools.combinations(axes, 2)
            for values in itertools.product(axes[a], axes[b])
        )
    )
    rows = []
    while missing:
        pair = dict(next(iter(missing)))
        found = [_row(generator, axes, pair, valid) for _ in range(candidates)]
        rows.append(max(found, key=lambda row: sum(p in missing for p in _pairs(row))))
        for met in _pairs(rows[-1]):
            missing.pop(met, None)
    return rows


def _pairs(row):
    return itertools.combinations(row.items(), 2)


def _row(generator, axes, fixed, valid):
    """A random row with the ``fixed`` values."""
    for _ in range(10_000):
        row = {name: fixed.get(name, generator.choice(values)) for name, values in axes.items()}
        if valid(row):
            return row
    raise ValueError(f"no valid row has {fixed}")
