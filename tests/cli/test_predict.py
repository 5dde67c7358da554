"""`resfuse predict`, with a network that `resfuse train` trained a little."""

import csv
import functools
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from cli_driver import assert_refused, resfuse
from data_files import pixels, write_classes, write_picture
from resfuse.cli import data
from resfuse.cli.app import app
from resfuse.cli.predict_output import Prediction, print_as
from resfuse.cli.training import trained as trained_models
from resfuse.cli.training.trained import load_model
from training_runs import train

CLASSES = ("ape", "bee", "cat")


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[None]:
    """Checkpoints are read, and their networks compiled, once for all calls in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained_models, "load_model", functools.cache(load_model))
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of classes, with pictures of several sizes and modes; beside one to test with."""
    folder = tmp_path_factory.mktemp("pictures") / "train"
    write_classes(folder, classes=CLASSES)
    write_classes(folder.with_name("test"), images=1, classes=CLASSES)
    write_picture(folder / "ape" / "grey.jpg", "L", (31, 20))
    write_picture(folder / "bee" / "clear.webp", "RGBA", (9, 9))
    write_picture(folder / "bee" / "palette.gif", "P", (40, 70))
    return folder


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    options = ("--size", 8, "--epochs", 1, "--batch-size", 4)
    result = train(out, "--data", pictures.parent, *options)
    assert result.exit_code == 0, result.output
    return out


def predict(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], env={"COLUMNS": "200"})


def probabilities(result: Any) -> dict[str, NDArray[np.float64]]:
    """What was printed with ``--format csv --top 3``: a vector in the order of the classes."""
    found: dict[str, NDArray[np.float64]] = {}
    for row in csv.DictReader(io.StringIO(result.stdout)):
        vector = found.setdefault(row["image"], np.full(len(CLASSES), np.nan))
        vector[CLASSES.index(row["class"])] = float(row["probability"])
    return found


def test_pictures_are_prepared_as_in_training(trained: Path, pictures: Path) -> None:
    source = data.load(str(pictures.parent), size=8, seed=0).train
    model = load_model(trained)
    with data.in_order(source, len(source)) as ((images, _),):
        expected = model.predict(images)
    result = predict(trained, pictures, "--format", "csv")
    assert result.exit_code == 0
    found = probabilities(result)
    assert list(found) == [str(file) for file in sorted(pictures.rglob("*.*"))]
    assert len(found) == 18
    np.testing.assert_allclose(np.stack(list(found.values())), expected, 1e-4)


def test_the_batch_size_changes_nothing(trained: Path, pictures: Path) -> None:
    some, others = (
        probabilities(predict(trained, pictures, "--format=csv", "--batch-size", size))
        for size in (7, 100)
    )
    assert list(some) == list(others)
    for name, each in some.items():
        np.testing.assert_allclose(each, others[name], 1e-4)


def test_json_holds_the_likeliest_classes_first(trained: Path, pictures: Path) -> None:
    file = pictures / "ape" / "0.png"
    (two,), (all_,) = (
        json.loads(predict(trained, file, "--format", "json", "--top", top).stdout)
        for top in (2, 99)
    )
    assert two == {"image": str(file), "classes": all_["classes"][:2]}
    assert {each["class"] for each in all_["classes"]} == set(CLASSES)
    shares = [each["probability"] for each in all_["classes"]]
    assert sum(shares) == pytest.approx(1, rel=1e-4)
    assert shares == sorted(shares, reverse=True)


def test_the_table_has_a_row_for_each_image_whatever_its_name(
    trained: Path, tmp_path: Path
) -> None:
    write_picture(tmp_path / "[red]a.png")
    broken_note = b"Exif\0\0MM\0*\0\0\0\x08\0\x05"  # of which nobody wants to hear
    Image.fromarray(pixels(9, 9)).save(tmp_path / "b b.jpg", exif=broken_note)
    result = resfuse("predict", trained, tmp_path, "--top", 1)
    assert (result.returncode, result.stderr) == (0, "")
    rows = [line.split("│")[1:-1] for line in result.stdout.splitlines() if "│" in line]
    assert [row[0].strip() for row in rows] == [f"{tmp_path}/[red]a.png", f"{tmp_path}/b b.jpg"]
    for _, name, share in rows:
        assert name.strip() in CLASSES
        assert 33 <= float(share.strip().rstrip("%")) <= 100


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_table_has_room_for_any_number_of_classes(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    classes = [(f"class-{number}", number / 100) for number in range(12)]
    print_as("table", [Prediction(name, classes) for name in ("first.png", "second.png")])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    for name in ("first.png", "second.png"):
        start = [row[0] for row in rows].index(name)
        shown = rows[start : start + 12]
        assert [row[0] for row in shown] == [name, *[""] * 11]
        assert [tuple(row[1:]) for row in shown] == [(name, f"{p:.1%}") for name, p in classes]


def test_broken_images_are_reported_and_passed_over(
    trained: Path, pictures: Path, tmp_path: Path
) -> None:
    good = pictures / "ape" / "0.png"
    for name, content in {"empty.png": b"", "cut.png": good.read_bytes()[:-30]}.items():
        (tmp_path / name).write_bytes(content)
    result = predict(trained, tmp_path, good, "--format=csv", "--batch-size=2")
    assert result.exit_code == 1
    first, second = sorted(result.stderr.splitlines())
    assert first.startswith(f"resfuse: {tmp_path}/cut.png: broken image: ")
    assert second.startswith(f"resfuse: {tmp_path}/empty.png: not an image")
    alone = predict(trained, good, "--format=csv")
    assert alone.exit_code == 0
    np.testing.assert_allclose(
        probabilities(result)[str(good)], probabilities(alone)[str(good)], 1e-4
    )


@pytest.mark.parametrize(
    ("form", "printed"),
    [("table", ""), ("json", "[]\n"), ("csv", "image,rank,class,probability\n")],
)
def test_nothing_but_broken_images(form: str, printed: str, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").touch()
    result = predict(trained, tmp_path / "bad.png", "--format", form)
    assert (result.exit_code, result.stdout) == (1, printed)


@pytest.mark.parametrize("form", ["table", "csv"])
def test_names_that_are_no_utf_8_come_out_as_they_are(
    form: str, trained: Path, tmp_path: Path
) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.png")
    write_picture(file)
    result = predict(trained, file, "--format", form)
    assert result.exit_code == 0
    assert b"caf\xe9.png" in result.stdout_bytes


def test_a_named_file_may_have_any_suffix(trained: Path, tmp_path: Path) -> None:
    Image.fromarray(pixels(9, 9)).save(tmp_path / "picture", "PPM")
    assert predict(trained, tmp_path / "picture").exit_code == 0


def test_what_cannot_be_predicted_is_refused(trained: Path, pictures: Path, tmp_path: Path) -> None:
    file = pictures / "ape" / "0.png"
    os.mkfifo(tmp_path / "pipe")
    for arguments, why in {
        (trained, tmp_path / "pipe"): f"{tmp_path}/pipe: it is not a regular file",
        (trained, file, "/dev/zero"): "/dev/zero: it is not a regular file",
        (trained, tmp_path / "gone.png"): f"{tmp_path}/gone.png: there is no such file or folder",
        (trained, tmp_path): f"{tmp_path}: no images in it",
        (tmp_path, file): f"{tmp_path}",
        (file, file): f"{file}",
        (trained, file, "--top=0"): "--top",
        (trained, file, "--format=xml"): "--format",
    }.items():
        assert_refused("predict", *arguments, why=why)
