"""Who is faster, from timings that were taken in turns."""

import statistics
from collections.abc import Iterable, Mapping, Sequence


def milliseconds(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """The median over the rounds, by engine."""
    return {name: 1e3 * statistics.median(each) for name, each in seconds.items()}


def ratios(seconds: Mapping[str, list[float]], ours: str, peers: Iterable[str]) -> list[float]:
    """In each round, the time of the fastest peer over ours: above 1 we are faster."""
    rounds = zip(seconds[ours], *(seconds[peer] for peer in peers), strict=True)
    return [min(theirs) / mine for mine, *theirs in rounds]


def share_of_peak(
    gflop: float, seconds: Sequence[float], peaks: Sequence[float], threads: int
) -> float:
    """The median over the rounds of the rate, over one thread's FMA peak times ``threads``."""
    rounds = zip(seconds, peaks, strict=True)
    return statistics.median(gflop / each / (peak * threads) for each, peak in rounds)


def spread(values: list[float]) -> str:
    """``0.97-1.12``: the least and the most."""
    return f"{min(values):.2f}-{max(values):.2f}"


def summary(values: list[float]) -> dict[str, float]:
    """The median, the least and the most, for JSON."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
