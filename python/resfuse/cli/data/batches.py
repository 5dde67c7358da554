"""Which images a batch holds: the same ones wherever a run is broken and continued."""

import numpy as np
from numpy.typing import NDArray

from resfuse.cli.data.dataset import Pixels, Source
from resfuse.cli.data.pictures import scaled
from resfuse.cli.data.stream import Batch, Stream

SHIFT = 8  # augmented images move by up to an eighth of their edges


def batches(
    source: Source,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    first_step: int = 0,
    augment: bool = False,
    shard: tuple[int, int] = (0, 1),
) -> Stream[Batch]:
    """The batches of one epoch, in an order that depends on ``seed`` and ``epoch`` alone.

    The images that do not fill the last batch are left out, others in each epoch.

    Args:
        source: The images, of which only those of the shard are read.
        batch_size: Images of a batch on all processes together.
        seed: Of the order and the augmentation.
        epoch: The same.
        first_step: Batches to pass over; those that follow are as if they had been made.
        augment: Shift images at random, and mirror those in colour.
        shard: ``(i, n)`` is the ``i``-th of ``n`` equal, contiguous parts of every batch.
    """
    order = np.random.default_rng([seed, epoch]).permutation(len(source))
    part = _part(batch_size, shard)

    def make(step: int) -> Batch:
        chosen = order[step * batch_size :][:batch_size][part]
        images, labels = _read(source, chosen)
        if augment:
            images = [
                augmented(image, np.random.default_rng([seed, epoch, 1 + index]))
                for image, index in zip(images, chosen, strict=True)
            ]
        return scaled(np.stack(images)), np.array(labels, np.int32)

    return Stream(make, range(first_step, len(source) // batch_size))


def in_order(source: Source, batch_size: int, shard: tuple[int, int] = (0, 1)) -> Stream[Batch]:
    """All images once, in the order of the source.

    The last batch is filled up with black images, whose label is -1.
    """
    part = _part(batch_size, shard)

    def make(step: int) -> Batch:
        chosen = np.arange(step * batch_size, (step + 1) * batch_size)[part]
        images, labels = _read(source, chosen[chosen < len(source)])
        missing = len(chosen) - len(labels)
        if missing:
            images += [np.zeros_like(source[0][0])] * missing
        return scaled(np.stack(images)), np.array(labels + [-1] * missing, np.int32)

    return Stream(make, range(-(-len(source) // batch_size)))


def augmented(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Shifts the image ``(H, W, C)`` at random; mirrors one in colour half of the time.

    Grey images are not mirrored: they are characters more often than not, and of the mirrored
    image of a 3 nobody should learn that it is one.
    """
    height, width, channels = image.shape
    rows, columns = height // SHIFT, width // SHIFT
    padded = np.pad(image, ((rows, rows), (columns, columns), (0, 0)))
    top, left = rng.integers(2 * rows + 1), rng.integers(2 * columns + 1)
    cropped = padded[top : top + height, left : left + width]
    return cropped[:, ::-1] if channels > 1 and rng.random() < 0.5 else cropped


def _part(batch_size: int, shard: tuple[int, int]) -> slice:
    index, count = shard
    if batch_size % count:
        raise ValueError(f"batch_size {batch_size} does not divide into {count} equal parts")
    size = batch_size // count
    return slice(index * size, (index + 1) * size)


def _read(source: Source, chosen: NDArray[np.int64]) -> tuple[list[Pixels], list[int]]:
    pairs = [source[int(index)] for index in chosen]
    return [image for image, _ in pairs], [label for _, label in pairs]
