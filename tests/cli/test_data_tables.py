"""Parquet files, and datasets by name from the cache."""

import socket
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_files import assert_load_refused, contents, pixels, png, write_parquet, write_picture
from resfuse.cli import data
from resfuse.cli.data import hub

CaptureText = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def offline_with_an_empty_cache(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody answers there


def write_splits(folder: Path) -> None:
    write_parquet(folder / "data" / "train-00000-of-00002.parquet", [0, 1, 2] * 2)
    write_parquet(folder / "data" / "train-00001-of-00002.parquet", [0, 1, 2])
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", [2, 1])


def test_a_folder_has_the_splits_that_its_files_name(tmp_path: Path) -> None:
    write_splits(tmp_path)
    dataset = data.load(str(tmp_path), size=None, seed=0)
    assert dataset.image_shape == (8, 8, 3)
    assert dataset.classes == ("0", "1", "2")
    assert len(dataset.train) == 9
    assert contents(dataset.test)[1] == [2, 1]


@pytest.mark.parametrize(
    "columns", [{}, {"image": "img", "label": "labels"}, {"label": "fine_label"}]
)
def test_a_file_holds_out_a_fifth(columns: dict[str, str], tmp_path: Path) -> None:
    images = write_parquet(tmp_path / "all.parquet", ["cat", "ape"] * 5, **columns)
    dataset = data.load(str(tmp_path / "all.parquet"), size=None, seed=0)
    assert dataset.classes == ("ape", "cat")
    train, test = contents(dataset.train), contents(dataset.test)
    assert sorted(test[1]) == [0, 1]
    found = {
        (image.tobytes(), label)
        for part in (train, test)
        for image, label in zip(*part, strict=True)
    }
    assert found == {(image.tobytes(), 1 - index % 2) for index, image in enumerate(images)}


def test_features_that_the_file_declares_are_used(tmp_path: Path) -> None:
    features = datasets.Features(
        {"photo": datasets.Image(), "kind": datasets.ClassLabel(names=["x", "y"])}
    )
    cells = [{"bytes": png(image), "path": None} for image in pixels(10, 9, 9)]
    table = datasets.Dataset.from_dict({"photo": cells, "kind": [0, 1] * 5}, features=features)
    table.to_parquet(tmp_path / "train.parquet")
    dataset = data.load(str(tmp_path), size=16, seed=0)
    assert dataset.classes == ("x", "y")
    assert dataset.train[0][0].shape == (16, 16, 1)


def test_test_images_without_labels_are_passed_over(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", [0, 1] * 3)
    write_parquet(tmp_path / "test-0.parquet", [-1, -1])
    write_parquet(tmp_path / "validation-0.parquet", [1, 1, 0])
    assert len(data.load(str(tmp_path), size=None, seed=0).test) == 3


def test_a_name_is_looked_up_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_splits(tmp_path / "my_pictures")
    datasets.load_dataset(str(tmp_path / "my_pictures"))
    monkeypatch.chdir(tmp_path / "my_pictures")  # where no folder has this name
    dataset = data.load("my_pictures", size=None, seed=0)
    assert (len(dataset.train), len(dataset.test)) == (9, 2)


def test_a_name_that_is_nowhere_is_refused(capsys: CaptureText) -> None:
    assert_load_refused("nobody/nothing", capsys, "no such file", "the hub cannot be reached")


def test_a_hub_that_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: CaptureText
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(hub, "PATIENCE", 0.1)
        assert_load_refused("nothing", capsys, "no such file", "the hub cannot be reached")


@pytest.mark.parametrize(
    ("labels", "columns", "why"),
    [
        ([0, 1], {"image": "sound"}, "expected a column of images, found sound, label"),
        ([0, 1], {"label": "price"}, "expected a column of labels, found image, price"),
        ([0.5, 1.5], {}, "expected whole numbers or names in column label, found float64"),
        ([[0], [1]], {}, "expected whole numbers or names in column label, found a structure"),
        ([0, None, 1], {}, "train: label None of image 1 is none of the classes"),
        ([0, 0], {}, "expected at least two classes, found 1"),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    labels: list[object],
    columns: dict[str, str],
    why: str,
    tmp_path: Path,
    capsys: CaptureText,
) -> None:
    file = tmp_path / "bad.parquet"
    write_parquet(file, labels, **columns)
    assert_load_refused(file, capsys, why)


def test_labels_of_no_class_are_refused(tmp_path: Path, capsys: CaptureText) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1])
    write_parquet(tmp_path / "test.parquet", [0, 7])
    assert_load_refused(tmp_path, capsys, "test: label 7 of image 1 is none of the classes")


def test_a_folder_without_a_split_to_train_with_is_refused(
    tmp_path: Path, capsys: CaptureText
) -> None:
    write_parquet(tmp_path / "test.parquet", [0, 1])
    assert_load_refused(tmp_path, capsys, "expected a split train, found test")


@pytest.mark.parametrize("images", [[1, 2], [[1], [2]], [0.5, 0.25], [{"a": 1}, {"a": 2}]])
def test_columns_that_hold_no_images_are_refused(
    images: list[object], tmp_path: Path, capsys: CaptureText
) -> None:
    file = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), file)
    assert_load_refused(file, capsys, "expected image files in column image, found")


def test_paths_in_the_column_of_images_are_followed(tmp_path: Path, capsys: CaptureText) -> None:
    write_picture(tmp_path / "0.png")
    paths = [str(tmp_path / f"{number}.png") for number in (0, 1)]
    file = tmp_path / "paths.parquet"
    pq.write_table(pa.table({"image": paths, "label": [0, 1]}), file)
    assert_load_refused(file, capsys, "image 1 of train: broken image: No such file")


@pytest.mark.parametrize(
    ("cell", "why"), [(b"hello", "image 1 of train: not an image"), (None, "image 1 of train")]
)
def test_images_that_cannot_be_read_are_refused(
    cell: bytes | None, why: str, tmp_path: Path, capsys: CaptureText
) -> None:
    file = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"image": [png(pixels(8, 8)), cell], "label": [0, 1]}), file)
    assert_load_refused(file, capsys, why)


@pytest.mark.parametrize("content", ["", "hello", "truncated"])
def test_a_file_that_is_no_parquet_is_refused(
    content: str, tmp_path: Path, capsys: CaptureText, caplog: pytest.LogCaptureFixture
) -> None:
    write_parquet(tmp_path / "0.parquet", [0, 1])
    bad = tmp_path / "1.parquet"
    write_parquet(bad, [0, 1])
    whole = bad.read_bytes()
    bad.write_bytes(whole[:-30] if content == "truncated" else content.encode())
    assert_load_refused(bad, capsys, "Parquet")
    assert_load_refused(tmp_path, capsys, f"{bad}: broken Parquet file: ")
    assert not caplog.records


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path, capsys: CaptureText) -> None:
    write_parquet(tmp_path / "0.parquet", [0, 1])
    write_parquet(tmp_path / "1.parquet", [0, 1], label="labels")
    why = f"1.parquet: expected columns image, label as in {tmp_path}/0.parquet, found image, la"
    assert_load_refused(tmp_path, capsys, why)
