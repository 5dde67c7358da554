"""What is wrong with a file of weights."""

from collections.abc import Iterable

__all__ = ["MismatchError", "WeightsError"]

_SHOWN = 20  # names of each kind


class WeightsError(ValueError):
    """A file of weights that cannot be read, or is of no network that we know."""


class MismatchError(WeightsError):
    """A file whose arrays are not those of the network: all differences at once.

    Attributes:
        missing: Names that the network needs and the file lacks.
        unexpected: Names in the file that the network has no place for.
        shapes: Of names in both, those whose shapes differ: name, in the file, in the network.
    """

    def __init__(
        self,
        what: str,
        missing: Iterable[str],
        unexpected: Iterable[str],
        shapes: Iterable[tuple[str, tuple[int, ...], tuple[int, ...]]],
    ) -> None:
        self.missing, self.unexpected = sorted(missing), sorted(unexpected)
        self.shapes = sorted(shapes)
        sizes = [f"{name}: {found} in the file, {wanted} here" for name, found, wanted in shapes]
        parts = ("missing", self.missing), ("unexpected", self.unexpected), ("wrong shape", sizes)
        lists = [f"{kind} ({len(names)}): {_shown(names)}" for kind, names in parts if names]
        super().__init__("\n".join([f"the file does not fit {what}", *lists]))


def _shown(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return "; ".join(names[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
