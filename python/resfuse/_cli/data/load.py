"""From what ``--data`` says to a dataset."""

from resfuse._cli.data import digits
from resfuse._cli.data.dataset import BadData, Dataset
from resfuse._cli.refuse import refuse


def load(data: str, *, size: int | None, seed: int) -> Dataset:
    """Loads ``data``, or refuses in one line that says what is wrong with it.

    Args:
        data: ``digits`` (scikit-learn's).
        size: The edge in pixels of the squares that all images become.
        seed: Which fifth is held out where the data has no test images.
    """
    try:
        return _load(data, size, seed)
    except BadData as error:
        refuse(f"--data {data}: {error}")


def _load(data: str, size: int | None, seed: int) -> Dataset:
    if data == "digits":
        return digits.load(size, seed)
    raise BadData("there is no such data")
