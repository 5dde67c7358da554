"""Which parts of a dataset are to train and to test with, as their names say."""

import itertools
import operator
import re
from collections.abc import Iterable

TRAIN = ("train", "training")
TEST = ("test", "testing", "evaluation", "eval", "validation", "valid", "val", "dev")
RANKS = {word: rank for rank, word in enumerate((*TRAIN, *TEST))}


def chosen(names: Iterable[str]) -> tuple[str | None, list[str]]:
    """The name of the part to train with, if there is one, and those to test with, best first.

    A part is named by one of the words in any case, as in ``Test``. Names of several words
    count where both kinds share the others, as ``seg_train`` and ``seg_test`` do; without its
    counterpart, ``train station`` is a class.
    """
    read = sorted((*_read(name), name) for name in names)
    for rest, group in itertools.groupby(read, operator.itemgetter(0)):
        ranked = [(rank, name) for _, rank, name in group]
        train = [name for rank, name in ranked if rank < len(TRAIN)]
        test = [name for rank, name in ranked if len(TRAIN) <= rank < len(RANKS)]
        if train and (test or not rest):
            return train[0], test
    return None, []


def _read(name: str) -> tuple[list[str], int]:
    """The words of a name but the one that says what it is for, and the rank of that one."""
    words = re.findall(r"[^\W\d_]+|\d+", name.casefold())
    known = [word for word in words if word in RANKS]
    if len(known) != 1:
        return words, len(RANKS)
    return [word for word in words if word != known[0]], RANKS[known[0]]
