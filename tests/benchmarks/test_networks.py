"""The comparison with other engines, as far as it needs none of them."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import networks
import resfuse
import unet
from bench_worker import InProcess
from comparison import app
from models import Model, gflop
from options import ENGINES, OTHER, UNLIMITED, choose_engines, choose_networks
from prepared import Prepared, prepare
from resfuse import ffi
from resfuse.cli.bench import turns
from resfuse.cli.bench.results import OURS, YNN_OFF, Engine
from resfuse.models.architectures import Architecture

COMPARISON = networks.COMPARISON
TINY = Model("d2l.ResNet", 16, channels=1, num_classes=10, settings={"arch": [[1, 64], [1, 8]]})


def _run(*arguments: object) -> Any:
    return CliRunner().invoke(app(COMPARISON, ""), list(map(str, arguments)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run with a tiny network writes."""
    out = tmp_path_factory.mktemp("networks")
    options = ("--models", "tiny", "--engines", "flax", "--batches", 2, "--threads", 1)
    files = ("--json", out / "networks.json", "--plot", out / "networks.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "Worker", InProcess)
        patch.setitem(COMPARISON.models, "tiny", TINY)
        result = _run(*options, "--rounds", 1, *files)
    assert result.exit_code == 0, result.output
    (out / "tables.txt").write_text(result.stdout)
    return out


def test_a_run_measures_time_memory_and_agreement(written: Path) -> None:
    document = json.loads((written / "networks.json").read_text())
    assert set(document["engines"]) == {OURS, "flax"}
    (case,) = document["results"]
    assert case["name"] == "tiny, batch 2, threads: 1"
    assert case["gflop"] == gflop(TINY, 2, trains=False)
    theirs = case["engines"]["flax"]
    assert len(theirs["seconds"]) == 1
    assert theirs["first"] > 0.01
    assert 0 <= theirs["difference"] < 1e-4
    (row,) = re.findall(r"^   Flax +(.*)$", (written / "tables.txt").read_text(), re.MULTILINE)
    *_, first, memory, difference = row.split()
    assert first == f"{theirs['first']:.2f}"
    assert memory == f"{theirs['mebibytes']:.0f}"
    assert difference == f"{theirs['difference']:.1e}"
    assert {each.suffix for each in written.iterdir()} == {".json", ".png", ".txt"}


def test_missing_packages_leave_an_engine_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Engine("", "", "", "", packages=("json", "no_such_package"))
    monkeypatch.setitem(ENGINES, "openvino", absent)
    assert list(choose_engines(COMPARISON, "openvino,flax")) == [OURS, "flax"]
    (line,) = capsys.readouterr().err.splitlines()
    why = "no_such_package not installed: pip install '.[bench]'"
    assert line == f"resfuse: openvino is left out: {why}"


def test_engines_are_kept_to_an_instruction_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resfuse.ffi, "isas", lambda: ("avx512", "avx2"))
    monkeypatch.setitem(ENGINES, "onnxruntime", ENGINES["onnxruntime"]._replace(packages=()))
    chosen = choose_engines(COMPARISON, "flax,flax-ynn-off,onnxruntime", None, "avx2")
    kept = {name: engine.isa for name, engine in chosen.items()}
    assert kept == {OURS: "avx2", "flax-ynn-off": "avx2"}
    said = capsys.readouterr().err
    assert all(f"{name} is left out: nothing keeps it to avx2" in said for name in UNLIMITED)
    with pytest.raises(typer.Exit):
        choose_engines(COMPARISON, "flax", None, "avx512")
    assert "--isa avx512: " in capsys.readouterr().err


def test_a_limit_adds_to_the_flags_of_an_engine() -> None:
    assert turns.limited("", "--a") == {"XLA_FLAGS": "--a"}
    limits = turns.limited("avx2", "--a")
    assert limits == turns.LIMITS["avx2"] | {"XLA_FLAGS": f"--a --xla_cpu_max_isa=AVX2 {YNN_OFF}"}


def _python(path: Path, script: str) -> str:
    """A program that passes for an interpreter."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return str(path)


def test_another_version_is_compared_alone_unless_engines_are_named(tmp_path: Path) -> None:
    python = _python(tmp_path / "python", "echo /elsewhere/resfuse/__init__.py")
    chosen = choose_engines(COMPARISON, None, python)
    assert list(chosen) == [OURS, OTHER]
    assert chosen[OTHER].python == python
    assert list(choose_engines(COMPARISON, "flax", python)) == [OURS, OTHER, "flax"]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo No module named resfuse >&2; exit 1", "No module named resfuse"),
        ("exit 1", "it cannot import resfuse"),
        (f"echo {resfuse.__file__}", f"its resfuse is this one, {resfuse.__file__}"),
    ],
)
def test_an_interpreter_without_another_version_is_refused(
    tmp_path: Path, script: str, why: str
) -> None:
    python = _python(tmp_path / "python", script)
    result = _run("--against", python)
    assert result.exit_code == 2
    assert result.stderr == f"resfuse: --against {python}: {why}\n"


def test_everything_is_measured_unless_told_otherwise() -> None:
    networks = choose_networks(COMPARISON, None, None)
    assert networks == [(name, batch) for name in COMPARISON.models for batch in (1, 8, 32)]
    chosen = choose_networks(COMPARISON, "ResNet50,ResNet18", "4,2,4")
    assert chosen == [("ResNet18", 4), ("ResNet18", 2), ("ResNet50", 4), ("ResNet50", 2)]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--models", "ResNet18,nothing"), "ResNet18, ResNet34"),
        (("--batches", "1,,8"), "'' is not a positive number"),
        (("--batches", "0"), "'0' is not a positive number"),
        (("--batches", "many"), "'many'"),
        (("--engines", "nothing"), "onnxruntime, openvino"),
        (("--engines", "resfuse-arguments"), "none to compare with"),
        (("--threads", 100_000), "--threads 100000"),
        (("--against", "/nowhere/python"), "No such file"),
        (("--engines", "flax", "--plot", "x.txt"), ".png"),
    ],
)
def test_bad_options_are_refused(arguments: tuple[object, ...], why: str) -> None:
    result = _run(*arguments)
    assert result.exit_code == 2
    assert why in result.stderr.splitlines()[-1]


def test_without_the_kernel_there_is_nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffi, "available", lambda: False)
    assert "the kernel is not live" in _run().stderr


@pytest.mark.parametrize(
    ("model", "multiply_adds"),
    [
        (
            Model(
                "linen.ResNet",
                8,
                num_classes=10,
                settings={
                    "architecture": Architecture("basic", (1,), features=8),
                    "cifar_stem": True,
                },
            ),
            # 22 * 22 places of a 3x3 window lie on an 8x8 image.
            [22**2 * 3 * 8, 22**2 * 8 * 8, 22**2 * 8 * 8, 8 * 10],
        ),
        (
            TINY,
            [
                # 7x7, stride 2, padding 2 and 3: 5 + 4 * 7 + 6 + 5 + 4, hence 48
                (5 + 7 + 7 + 7 + 7 + 7 + 6 + 4) ** 2 * 64,
                *[10**2 * 64 * 64] * 2,  # 3x3 on 4x4
                *[5**2 * 64 * 8, 4**2 * 8 * 8, 2**2 * 64 * 8],  # stride 2, 3x3 on 2x2, 1x1
                8 * 10,
            ],
        ),
    ],
)
def test_arithmetic_is_that_of_the_weights_on_the_image(
    model: Model, multiply_adds: list[int]
) -> None:
    total = sum(multiply_adds)
    assert gflop(model, 2, trains=False) == pytest.approx(2 * 2 * total / 1e9)
    # No derivative by the images is needed.
    training = 2 * 2 * (3 * total - multiply_adds[0]) / 1e9
    assert gflop(model, 2, trains=True) == pytest.approx(training)


def test_zeros_between_pixels_do_not_count() -> None:
    """U-Net by hand: of a 3x3 window on the edge, what is inside; one tap of each 2x2 one."""
    levels = list(zip((3, *unet.WIDTHS), unet.WIDTHS, (32, 16, 8, 4, 2), strict=False))
    down = sum((3 * size - 2) ** 2 * (i * o + o * o) for i, o, size in levels)
    up = sum(size**2 * 2 * o * o + (3 * size - 2) ** 2 * 3 * o * o for _, o, size in levels[:-1])
    work = gflop(Model("unet.UNet", 32, num_classes=2), 1, trains=False)
    assert work == pytest.approx(2 * (down + up + 32 * 32 * 64 * 2) / 1e9)


def test_dense_layers_count_on_every_pixel() -> None:
    # torchvision's documentation has 4.46e9 multiply-adds, padding included.
    work = gflop(Model("nnx.ConvNeXtTiny", 224), 1, trains=False)
    assert work == pytest.approx(2 * 4.46, rel=0.01)


@pytest.mark.parametrize(
    "model",
    [
        TINY,
        Model("linen.ResNet18", 32, num_classes=10, settings={"cifar_stem": True}),
        pytest.param(
            # At 32 pixels its last batch norms would be those of 8 values: rounding would grow.
            Model("nnx.MobileNetV2", 96, num_classes=10, torchvision="mobilenet_v2"),
            marks=pytest.mark.long,
        ),
        pytest.param(Model("unet.UNet", 32, num_classes=2), marks=pytest.mark.long),
    ],
)
def test_torch_answers_alike(model: Model, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="a peer that only the extra `bench` installs")
    if model.torchvision:
        pytest.importorskip("torchvision", reason="of the same extra")
    from engines import flax
    from engines.torch_networks import network

    prepared = prepare(tmp_path, model)
    right = np.asarray(flax.inference("xla", str(tmp_path), 2, 1)())
    images = torch.from_numpy(Prepared(tmp_path).images_channels_first(2))
    with torch.no_grad():
        found = network(prepared).eval()(images)
    np.testing.assert_allclose(found, right, atol=1e-4 * np.abs(right).max())
