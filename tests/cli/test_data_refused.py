"""Folders that are no data, each refused by name."""

import os
from pathlib import Path

import pytest

from data_files import assert_load_refused, write_classes, write_picture
from resfuse.cli import data
from resfuse.cli.data.dataset import BadData

CaptureText = pytest.CaptureFixture[str]


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


def test_a_class_of_a_single_image_is_named(tmp_path: Path, capsys: CaptureText) -> None:
    write_classes(tmp_path)
    write_classes(tmp_path, classes=["okapi"], images=1)
    assert_load_refused(tmp_path, capsys, "no test images", "of class 'okapi' a single image")


def test_an_unknown_class_to_test_with_is_refused(tmp_path: Path, capsys: CaptureText) -> None:
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "test", classes="x")
    assert_load_refused(tmp_path, capsys, f"{tmp_path}/test/x: there is no class 'x'")


def test_a_file_that_is_no_data_is_refused(tmp_path: Path, capsys: CaptureText) -> None:
    (tmp_path / "file").write_text("hello")
    os.mkfifo(tmp_path / "pipe.parquet")
    for name in ("file", "pipe.parquet"):
        assert_load_refused(tmp_path / name, capsys, "expected a folder or a file .parquet")


@pytest.mark.parametrize(
    ("name", "why"),
    [("", "expected a folder, a file or a name"), ("~nobody-here/pictures", "no such file")],
)
def test_what_names_nothing_is_refused(name: str, why: str, capsys: CaptureText) -> None:
    assert_load_refused(name, capsys, why)


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_a_file_that_is_no_image_is_refused(
    content: bytes, tmp_path: Path, capsys: CaptureText
) -> None:
    write_classes(tmp_path)
    (tmp_path / "b" / "bad.jpg").write_bytes(content)
    assert_load_refused(tmp_path, capsys, f"{tmp_path}/b/bad.jpg: not an image")


def test_a_truncated_image_ends_the_epoch_by_name(tmp_path: Path) -> None:
    write_classes(tmp_path)
    for file in (tmp_path / "b").iterdir():  # one is held out, and evaluated later
        file.write_bytes(file.read_bytes()[:-30])
    dataset = data.load(str(tmp_path), size=None, seed=0)
    expected = pytest.raises(BadData, match=rf"{tmp_path}/b/\d\.png: broken image")
    with expected, data.batches(dataset.train, 4, seed=0, epoch=0) as stream:
        list(stream)
