"""A folder for each class, and the digits, which need none."""

from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from data_files import assert_load_refused, contents, write_classes, write_picture
from resfuse.cli import data

CaptureText = pytest.CaptureFixture[str]


def test_digits_are_split_in_proportion_and_by_the_seed() -> None:
    splits = [data.load("digits", size=None, seed=seed) for seed in (0, 0, 1)]
    found = [contents(dataset.test) for dataset in splits]
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert (found[0][0] != found[2][0]).any()
    assert splits[0].image_shape == found[0][0].shape[1:] == (8, 8, 1)
    assert (len(splits[0].train), len(splits[0].test)) == (1437, 360)
    counts = np.bincount(found[0][1])
    assert counts.min() >= 34
    assert counts.max() <= 37
    assert {0, 255} <= set(np.unique(found[0][0]))


def test_the_names_of_folders_are_the_classes(tmp_path: Path) -> None:
    write_classes(tmp_path, images=10, classes="ca")
    dataset = data.load(str(tmp_path), size=None, seed=0)
    assert dataset.classes == ("a", "c")
    assert dataset.image_shape == (10, 12, 3)
    (_, train), (_, test) = contents(dataset.train), contents(dataset.test)
    assert (train.count(0), train.count(1), test.count(0), test.count(1)) == (8, 8, 2, 2)


def test_images_are_those_of_the_files(tmp_path: Path) -> None:
    write_classes(tmp_path)
    dataset = data.load(str(tmp_path), size=None, seed=0)
    found = {
        (image.tobytes(), dataset.classes[label])
        for source in (dataset.train, dataset.test)
        for image, label in (source[index] for index in range(len(source)))
    }
    files = tmp_path.glob("*/*.png")
    assert found == {(Image.open(file).tobytes(), file.parent.name) for file in files}


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_train_and_test_folders_are_used_as_they_are(name: str, tmp_path: Path) -> None:
    write_classes(tmp_path / "train", images=3)
    write_classes(tmp_path / name, images=2, classes="b")
    dataset = data.load(str(tmp_path), size=None, seed=0)
    assert contents(dataset.train)[1] == [0, 0, 0, 1, 1, 1]
    assert contents(dataset.test)[1] == [1, 1]


def test_mixed_sizes_and_modes_become_one_shape(tmp_path: Path) -> None:
    write_classes(tmp_path, images=4)
    for number, (mode, kind) in enumerate(
        [
            ("L", "png"),
            ("RGBA", "png"),
            ("P", "gif"),
            ("CMYK", "jpg"),
            ("I;16", "png"),
            ("1", "bmp"),
        ]
    ):
        file = tmp_path / "a" / "deeper" / f"{number}.{kind}"
        write_picture(file, mode if mode != "I;16" else "L", (20 + number, 31))
        if mode == "I;16":
            Image.fromarray(np.full((9, 9), 40000, np.uint16)).save(file)
    dataset = data.load(str(tmp_path), size=None, seed=0)
    assert dataset.image_shape == (10, 12, 3)  # the commonest size
    assert len(dataset.train) + len(dataset.test) == 14
    assert contents(dataset.train)[0].shape[1:] == (10, 12, 3)


@pytest.mark.parametrize(("size", "expected"), [(None, (224, 224, 1)), (32, (32, 32, 1))])
def test_grey_photographs_become_grey_squares(
    size: int | None, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    for name in "ab":
        for number in range(2):
            write_picture(tmp_path / name / f"{number}.jpg", "L", (300, 260))
    dataset = data.load(str(tmp_path), size=size, seed=0)
    assert dataset.image_shape == dataset.train[0][0].shape == expected


def test_files_that_are_no_pictures_by_their_names_are_left_out(tmp_path: Path) -> None:
    write_classes(tmp_path)
    for name in ("notes.txt", ".hidden.png", "Thumbs.db"):
        (tmp_path / "a" / name).write_text("no picture")
    (tmp_path / ".git").mkdir()
    dataset = data.load(str(tmp_path), size=None, seed=0)
    assert len(dataset.train) + len(dataset.test) == 10


def test_a_missing_folder_is_refused(tmp_path: Path, capsys: CaptureText) -> None:
    assert_load_refused(tmp_path / "gone", capsys, "there is no such file or folder")


def test_a_folder_without_images_is_refused(tmp_path: Path, capsys: CaptureText) -> None:
    assert_load_refused(tmp_path, capsys, "expected a folder of images for each class")
    write_picture(tmp_path / "alone.png")
    assert_load_refused(tmp_path, capsys, "expected a folder of images for each class")


def test_a_class_without_images_is_refused(tmp_path: Path, capsys: CaptureText) -> None:
    write_classes(tmp_path)
    (tmp_path / "empty").mkdir()
    assert_load_refused(tmp_path, capsys, f"{tmp_path / 'empty'}: no images of class 'empty'")


def test_a_single_class_is_refused(tmp_path: Path, capsys: CaptureText) -> None:
    write_classes(tmp_path, classes="a")
    assert_load_refused(tmp_path, capsys, "expected at least two classes, found 1")


def test_a_single_image_cannot_be_held_out(tmp_path: Path, capsys: CaptureText) -> None:
    write_classes(tmp_path, images=1)
    assert_load_refused(tmp_path, capsys, "a class of a single image")


def test_an_unknown_class_to_test_with_is_refused(tmp_path: Path, capsys: CaptureText) -> None:
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "test", classes="x")
    assert_load_refused(tmp_path, capsys, f"{tmp_path}/test/x: there is no class 'x'")


def test_a_file_that_is_no_data_is_refused(tmp_path: Path, capsys: CaptureText) -> None:
    (tmp_path / "file").write_text("hello")
    assert_load_refused(tmp_path / "file", capsys, "expected a folder or a file .parquet")


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_a_file_that_is_no_image_is_refused(
    content: bytes, tmp_path: Path, capsys: CaptureText
) -> None:
    write_classes(tmp_path)
    (tmp_path / "b" / "bad.jpg").write_bytes(content)
    assert_load_refused(tmp_path, capsys, f"{tmp_path}/b/bad.jpg: not an image")


def test_a_truncated_image_ends_the_training_by_name(tmp_path: Path, capsys: CaptureText) -> None:
    write_classes(tmp_path)
    for file in (tmp_path / "b").iterdir():  # one is held out, and evaluated later
        file.write_bytes(file.read_bytes()[:-30])
    dataset = data.load(str(tmp_path), size=None, seed=0)
    with (
        pytest.raises(typer.Exit),
        data.batches(dataset.train, 4, seed=0, epoch=0) as stream,
    ):
        list(stream)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"resfuse: {tmp_path}/b/")
    assert ".png: broken image" in line
