"""The files of MNIST and Fashion-MNIST."""

from pathlib import Path

import numpy as np
import pytest

from data_files import assert_load_refused, contents, pixels, write_idx, write_mnist
from resfuse.cli import data

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(("suffix", "then"), [("", ""), (".gz", ".gz"), (".gz", ""), ("", ".gz")])
def test_images_and_labels_are_those_of_the_files(suffix: str, then: str, tmp_path: Path) -> None:
    written = write_mnist(tmp_path, suffix=suffix)
    for file in [*tmp_path.iterdir()]:  # browsers decompress some, and leave their names
        file.rename(str(file).removesuffix(".gz") + then)
    (tmp_path / "train-images-idx3-ubyt").touch()
    (tmp_path / "train-images-idx3-ubyte-folder").mkdir()
    dataset = data.load(str(tmp_path), size=None, seed=0)
    assert dataset.image_shape == (28, 28, 1)
    assert dataset.classes == tuple("0123456789")
    for source, images in zip((dataset.train, dataset.test), written, strict=True):
        found, labels = contents(source)
        np.testing.assert_array_equal(found[..., 0], images)
        assert labels == [index % 10 for index in range(len(images))]


def test_images_are_enlarged_as_the_book_has_it(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    dataset = data.load(str(tmp_path), size=96, seed=0)
    assert dataset.image_shape == dataset.train[0][0].shape == (96, 96, 1)


def test_without_test_files_a_fifth_is_held_out(tmp_path: Path) -> None:
    images, _ = write_mnist(tmp_path, train=50)
    for file in tmp_path.glob("t10k*"):
        file.unlink()
    dataset = data.load(str(tmp_path), size=None, seed=0)
    (train, _), (test, labels) = contents(dataset.train), contents(dataset.test)
    assert sorted(labels) == list(range(10))
    together = np.concatenate([train, test])[..., 0]
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(images, axis=0))


def spoil(folder: Path, what: str) -> Path:
    """Spoils one of the good files in ``folder``, and tells which."""
    images, labels = folder / IMAGES, folder / LABELS
    if what == "text":
        images.write_text("hello, this is no image")
    elif what == "empty":
        images.write_bytes(b"")
    elif what == "truncated":
        images.write_bytes(images.read_bytes()[:-1])
    elif what == "type":
        images.write_bytes(bytes([0, 0, 12]) + images.read_bytes()[3:])
    elif what == "dimensions":
        write_idx(images, pixels(40, 28))
    elif what == "no images":
        write_idx(images, pixels(0, 28, 28))
        write_idx(labels, pixels(0))
        return images
    elif what == "missing":
        images.unlink()
        return labels
    elif what == "count":
        write_idx(labels, np.zeros(39, np.uint8))
        return labels
    elif what == "class":
        write_idx(labels, np.where(np.arange(40) % 10 == 3, 4, np.arange(40) % 10).astype(np.uint8))
        return labels
    elif what == "outside":
        labels = folder / LABELS.replace("train", "t10k")
        write_idx(labels, np.full(20, 77, np.uint8))
        return labels
    return images


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("text", "not an IDX file of bytes in 3 dimensions"),
        ("empty", "not an IDX file of bytes in 3 dimensions"),
        ("type", "it begins with 00 00 0c 03, expected 00 00 08 03"),
        ("dimensions", "not an IDX file of bytes in 3 dimensions"),
        ("truncated", "expected 31360 bytes for (40, 28, 28), found 31359"),
        ("no images", "no images"),
        ("missing", "expected images and labels, found one of them"),
        ("count", "39 labels for 40 images"),
        ("class", "no images of class '3'"),
        ("outside", "label 77 of image 0 is outside 0..9"),
    ],
)
def test_bad_files_are_refused_by_name(
    what: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path)
    assert_load_refused(tmp_path, capsys, str(spoil(tmp_path, what)), why)


@pytest.mark.parametrize("kept", [5, 100])
def test_broken_gzip_files_are_refused(
    kept: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path, suffix=".gz")
    file = tmp_path / f"{IMAGES}.gz"
    file.write_bytes(file.read_bytes()[:kept])
    assert_load_refused(tmp_path, capsys, str(file), "broken gzip file")


def test_test_files_alone_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mnist(tmp_path)
    for file in tmp_path.glob("train*"):
        file.unlink()
    assert_load_refused(tmp_path, capsys, "expected train-images-idx3-ubyte, found none")
