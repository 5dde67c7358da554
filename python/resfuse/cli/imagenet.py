"""The names of ImageNet's 1000 classes, in the order of published networks' logits.

The classes of the ILSVRC 2012 challenge are synsets of WordNet in the order of their numbers. A
name is the first word of the synset, as timm (Apache 2.0) lists them from WordNet 3.0 (Copyright
2006 by Princeton University, free for any use with this notice); where two synsets begin with the
same word, one says in brackets which it is.
"""

from importlib import resources

__all__ = ["COUNT", "class_names"]

COUNT = 1000


def class_names(count: int) -> tuple[str, ...]:
    """ImageNet's if there are 1000, else numbers, for nothing says what such classes are."""
    if count != COUNT:
        return tuple(map(str, range(count)))
    text = resources.files("resfuse.cli").joinpath("imagenet.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
