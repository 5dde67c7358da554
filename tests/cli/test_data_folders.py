"""A folder for each class, and the digits, which need none."""

import errno
import importlib
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from data_files import assert_load_refused, contents, pixels, write_classes, write_picture
from resfuse import cli
from resfuse.cli import data
from resfuse.cli.data import split_names
from resfuse.cli.data.folders import pictures_in

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


def test_digits_and_folders_need_no_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(tmp_path)
    monkeypatch.setattr(cli, "data", data)  # put back at the end, and so are the modules
    for name in [*sys.modules]:
        if name.startswith(data.__name__):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it were not installed
    fresh = importlib.import_module(data.__name__)
    assert fresh is not data
    for name in ("digits", str(tmp_path)):
        assert len(fresh.load(name, size=None, seed=0).test) > 0
    (tmp_path / "table.parquet").touch()
    with pytest.raises(ModuleNotFoundError):  # which the command answers with what to install
        fresh.load(str(tmp_path), size=None, seed=0)


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


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("train", "validation"),
        ("Train", "TEST"),
        ("training", "valid"),
        ("seg_train/seg_train", "seg_test/seg_test"),
    ],
)
def test_train_and_test_folders_are_used_as_they_are(train: str, test: str, tmp_path: Path) -> None:
    write_classes(tmp_path / train, images=3)
    write_classes(tmp_path / test, images=2, classes="b")
    dataset = data.load(str(tmp_path), size=None, seed=0)
    assert contents(dataset.train)[1] == [0, 0, 0, 1, 1, 1]
    assert contents(dataset.test)[1] == [1, 1]


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (["test", "train", "val"], "train", ["test", "val"]),
        (["dev", "eval", "testing", "train"], "train", ["testing", "eval", "dev"]),
        (["training_set", "test_set", "extra"], "training_set", ["test_set"]),
        (["train2017", "val2017", "test2018"], "train2017", ["val2017"]),
        (["seg_pred", "seg_test", "seg_train", "train"], "train", []),
        (["ape", "test", "val"], None, []),
        (["airport", "test track", "train station"], None, []),
        (["train-test"], None, []),
        ([], None, []),
    ],
)
def test_names_say_which_part_is_which(
    names: list[str], train: str | None, test: list[str]
) -> None:
    assert split_names.chosen(names) == (train, test)


def test_a_folder_to_test_with_without_classes_is_passed_over(tmp_path: Path) -> None:
    write_classes(tmp_path / "train")
    write_picture(tmp_path / "test" / "unlabelled.png")
    assert len(data.load(str(tmp_path), size=None, seed=0).test) == 2
    write_classes(tmp_path / "val", images=3)
    assert len(data.load(str(tmp_path), size=None, seed=0).test) == 6


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


def test_what_systems_and_tools_leave_behind_is_no_data(tmp_path: Path) -> None:
    parts = tmp_path / "train", tmp_path / "test"
    for part in parts:
        write_classes(part)
    for folder in (tmp_path, *parts, *(part / name for part in parts for name in "ab")):
        for name in ("notes.txt", ".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", "0.png~"):
            (folder / name).write_text("no picture")
        for name in (".git", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN"):
            write_picture(folder / name / "copy.png")
            write_picture(folder / name / "deeper" / "copy.png")
        (folder / ".cache").mkdir()
        (folder / ".cache" / "table.parquet").write_text("no table")
        (folder / "._train-images-idx3-ubyte").write_text("no images")
        (folder / "lost+found").mkdir()
    dataset = data.load(str(tmp_path), size=None, seed=0)
    assert dataset.classes == ("a", "b")
    assert (len(dataset.train), len(dataset.test)) == (10, 10)
    assert len(pictures_in(tmp_path)) == 20


def test_what_can_be_read_for_ever_is_left_out(tmp_path: Path) -> None:
    write_classes(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "a" / "socket.png"))  # its paths must be short
        os.mkfifo(tmp_path / "a" / "pipe.png")
        os.mkfifo(tmp_path / "train-images-idx3-ubyte")
        os.mkfifo(tmp_path / "train.parquet")
        (tmp_path / "a" / "device.png").symlink_to(os.devnull)
        (tmp_path / "a" / "around").symlink_to(tmp_path)
        dataset = data.load(str(tmp_path), size=None, seed=0)
    assert len(dataset.train) + len(dataset.test) == 10


def test_links_are_followed_to_files_and_classes(tmp_path: Path) -> None:
    write_classes(tmp_path / "elsewhere", classes="abc")
    there = tmp_path / "there"
    there.mkdir()
    for name in "ab":
        (there / name).symlink_to(tmp_path / "elsewhere" / name)
    write_classes(there, classes="c")
    (there / "c" / "5.png").symlink_to(tmp_path / "elsewhere" / "c" / "0.png")
    dataset = data.load(str(there), size=None, seed=0)
    assert len(dataset.train) + len(dataset.test) == 16


@pytest.mark.parametrize("link", ["b/5.png", "up"])
def test_links_that_lead_nowhere_are_named(link: str, tmp_path: Path, capsys: CaptureText) -> None:
    write_classes(tmp_path)
    (tmp_path / link).symlink_to(tmp_path if link == "up" else "gone.png")
    why = "found a link back up" if link == "up" else "No such file"
    assert_load_refused(tmp_path, capsys, f"{tmp_path / link}: ", why)


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: CaptureText
) -> None:
    write_classes(tmp_path)
    write_picture(tmp_path / "a" / "secret" / "0.png")
    scandir = os.scandir

    def denied(path: str) -> object:  # modes do not keep root, who may run this, from reading
        if str(path).endswith("secret"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert_load_refused(tmp_path, capsys, f"{tmp_path}/a/secret: Permission denied")


def test_names_that_are_not_utf_8_become_printable(tmp_path: Path, capsys: CaptureText) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9\n")
    write_classes(folder.parent)
    write_classes(folder.parent, classes=[folder.name])
    dataset = data.load(str(tmp_path), size=None, seed=0)
    assert dataset.classes == ("a", "b", r"caf\udce9\n")
    assert len(contents(dataset.train)[1]) == 12
    (folder / "0.png").write_text("no picture")
    assert_load_refused(tmp_path, capsys, rf"{tmp_path}/caf\udce9\n/0.png: not an image")
    assert_load_refused(f"{folder}/gone", capsys, "there is no such file or folder")


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif"])
def test_the_common_size_is_that_of_upright_pictures(kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(2):
            image = Image.fromarray(pixels(20, 50, 3))
            image.save(tmp_path / name / f"{number}.{kind}", exif=exif)
    dataset = data.load(str(tmp_path), size=None, seed=0)
    assert dataset.image_shape == (50, 20, 3)
    with Image.open(tmp_path / "a" / f"0.{kind}") as image:
        expected = ImageOps.exif_transpose(image)
    np.testing.assert_array_equal(dataset.train[0][0], expected)


def test_of_classes_of_two_images_one_is_held_out(tmp_path: Path) -> None:
    write_classes(tmp_path, images=2, classes="abc")
    dataset = data.load(str(tmp_path), size=None, seed=0)
    assert sorted(contents(dataset.test)[1]) == [0, 1, 2]
