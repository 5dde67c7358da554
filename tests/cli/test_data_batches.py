"""Which images a batch holds, and that nothing but seed, epoch and index decides it."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_files import pixels
from resfuse.cli.data import Batch, Source, batches, in_order
from resfuse.cli.data.batches import augmented
from resfuse.cli.data.dataset import BadData

LENGTH, SIZE = 23, 6


class Numbered:
    """Images that hold their own number, which is their label too; it remembers what was read."""

    def __init__(self, channels: int = 1) -> None:
        self.read: set[int] = set()
        self._shape = (8, 8, channels)

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        self.read.add(index)
        return np.full(self._shape, index, np.uint8), index


class Colourful(Numbered):
    """Images of which no two are alike, nor one and its mirror image."""

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
        return pixels(16, 16, 3, seed=index), index


def epoch(
    source: Source, size: int = SIZE, seed: int = 5, epoch: int = 2, **rest: Any
) -> list[Batch]:
    with batches(source, size, seed=seed, epoch=epoch, **rest) as stream:
        return list(stream)


def labels(made: list[Batch]) -> list[list[int]]:
    return [each.tolist() for _, each in made]


def assert_same(some: list[Batch], others: list[Batch]) -> None:
    for one, other in zip(some, others, strict=True):
        for part, its in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, its)


def test_batches_are_floats_from_0_to_1_and_labels() -> None:
    for images, numbers in epoch(Numbered()):
        assert images.shape == (SIZE, 8, 8, 1)
        assert images.dtype == np.float32
        assert numbers.dtype == np.int32
        np.testing.assert_array_equal(images[:, 3, 4, 0], numbers.astype(np.float32) / 255)


def test_an_epoch_holds_every_image_once_but_those_that_fill_no_batch() -> None:
    chosen = [number for batch in labels(epoch(Numbered())) for number in batch]
    assert len(chosen) == len(set(chosen)) == LENGTH // SIZE * SIZE


def test_the_order_depends_on_seed_and_epoch() -> None:
    orders = [labels(epoch(Numbered(), seed=s, epoch=e)) for s in (0, 1) for e in (0, 1)]
    assert len({str(order) for order in orders}) == 4
    assert labels(epoch(Numbered(), seed=1, epoch=1)) == orders[-1]


@pytest.mark.parametrize("first", range(LENGTH // SIZE + 1))
def test_an_epoch_continues_as_if_it_had_not_been_broken(first: int) -> None:
    whole = epoch(Colourful(), augment=True)
    assert_same(epoch(Colourful(), augment=True, first_step=first), whole[first:])


@pytest.mark.parametrize("count", [2, 3, 6])
def test_shards_are_the_parts_of_the_global_batch(count: int) -> None:
    parts = [epoch(Colourful(), augment=True, shard=(i, count)) for i in range(count)]
    joined = [
        tuple(np.concatenate(each) for each in zip(*part, strict=True))
        for part in zip(*parts, strict=True)
    ]
    assert_same(joined, epoch(Colourful(), augment=True))


def test_a_process_reads_its_own_shard_only() -> None:
    source = Numbered()
    made = labels(epoch(source, shard=(1, 3)))
    assert source.read == {number for batch in made for number in batch}


def test_a_batch_that_the_processes_cannot_share_is_an_error() -> None:
    with pytest.raises(ValueError, match="6 does not divide into 4"):
        batches(Numbered(), 6, seed=0, epoch=0, shard=(0, 4))


def test_augmentation_depends_on_the_image_and_not_on_its_batch() -> None:
    def by_label(size: int, **changed: int) -> dict[int, NDArray[np.float32]]:
        made = epoch(Colourful(), size, augment=True, **changed)
        return {int(label): image for batch in made for image, label in zip(*batch, strict=True)}

    small, large, later = by_label(1), by_label(5), by_label(1, epoch=3)
    assert len(large) == 20
    for label, image in large.items():
        np.testing.assert_array_equal(image, small[label])
    assert any((later[label] != image).any() for label, image in small.items())


def seen(image: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for seed in range(200):
        yield augmented(image, np.random.default_rng(seed))


def shifted(image: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    height, width, _ = image.shape
    padded = np.pad(image, ((2, 2), (3, 3), (0, 0)))
    return padded[2 - down :, 3 - right :][:height, :width]


@pytest.mark.parametrize(("channels", "expected"), [(1, 5 * 7), (3, 2 * 5 * 7)])
def test_augmented_images_are_shifted_by_up_to_an_eighth_and_mirrored_in_colour(
    channels: int, expected: int
) -> None:
    image = pixels(16, 24, channels) | 1  # no black, which is what comes in at the edges
    possible = {
        shifted(image, down, right)[:, ::step].tobytes()
        for step in ((1,) if channels == 1 else (1, -1))
        for down in range(-2, 3)
        for right in range(-3, 4)
    }
    found = {each.tobytes() for each in seen(image)}
    assert found <= possible
    assert len(possible) == expected
    assert len(found) > expected * 0.8


@pytest.mark.parametrize("count", [1, 2])
def test_evaluation_sees_all_images_in_order_and_marks_what_fills_the_last_batch(
    count: int,
) -> None:
    size = 10
    parts = []
    for index in range(count):
        with in_order(Numbered(), size, shard=(index, count)) as stream:
            parts.append(list(stream))
    numbers = np.concatenate(
        [np.concatenate([b[1] for b in bs]) for bs in zip(*parts, strict=True)]
    )
    assert numbers.tolist() == [*range(LENGTH), *[-1] * 7]
    last_images, last_labels = parts[-1][-1]
    assert last_images.shape == (size // count, 8, 8, 1)
    assert not last_images[last_labels < 0].any()


def test_closing_a_stream_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with batches(Numbered(), 2, seed=0, epoch=0) as stream:
        next(stream)
        started = set(threading.enumerate()) - before
        assert started
    for thread in started:  # they end when what they are at is done
        thread.join(10)
        assert not thread.is_alive()


def test_batches_are_made_before_they_are_asked_for() -> None:
    source = Numbered()
    with batches(source, 2, seed=0, epoch=0):
        deadline = time.monotonic() + 10
        while len(source.read) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(source.read) >= 2


def test_an_image_that_breaks_in_the_middle_ends_the_epoch() -> None:
    class Broken(Numbered):
        def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:
            if index == 7:
                raise BadData("cat/7.png: broken image: truncated")
            return super().__getitem__(index)

    with pytest.raises(BadData, match=r"cat/7\.png: broken image: truncated"):
        epoch(Broken(), 1)
