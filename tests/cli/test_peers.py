import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cli_driver import assert_refused, resfuse_without
from resfuse.cli.app import app
from resfuse.cli.peers import command, report
from resfuse.cli.peers.engines import ENGINES, OURS, Engine
from resfuse.cli.peers.measure import differences
from resfuse.cli.peers.models import ANSWERING, Case, ResNet
from resfuse.cli.peers.options import choose_cases, choose_engines
from resfuse.cli.peers.prepared import Prepared
from resfuse.cli.peers.results import Result
from resfuse.cli.peers.tasks import INFERENCE
from resfuse.cli.peers.torch_names import state_dict
from resfuse.models.architectures import Architecture

TINY = ResNet(
    architecture=Architecture("basic", (1,), features=8), size=8, num_classes=10, cifar_stem=True
)
OPTIONS = ("--models", "tiny", "--engines", "flax", "--batches", 2, "--threads", 1, "--rounds", 2)


def _result(differences: float = 1e-6, **seconds: list[float]) -> Result:
    """Resfuse takes 1 s in each of three rounds, the others what is given."""
    seconds = {OURS: [1.0] * 3, **seconds}
    numbers = dict.fromkeys(seconds, 1.0)
    others = dict.fromkeys(list(seconds)[1:], differences)
    peaks = dict.fromkeys(seconds, [100.0] * 3)
    case = Case("ResNet18", 8, 2)
    return Result(INFERENCE, case, 20.0, seconds, peaks, numbers, numbers, others)


@pytest.fixture
def tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ANSWERING, "tiny", TINY)
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run with a tiny network writes."""
    out = tmp_path_factory.mktemp("peers")
    files = ("--json", out / "peers.json", "--plot", out / "peers.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ANSWERING, "tiny", TINY)
        result = CliRunner().invoke(app, list(map(str, ("bench", "--peers", *OPTIONS, *files))))
    assert result.exit_code == 0, result.output
    (out / "tables.txt").write_text(result.stdout)
    return out


@pytest.fixture(scope="module")
def document(written: Path) -> dict[str, Any]:
    return dict(json.loads((written / "peers.json").read_text()))


def test_figures_follow_from_the_raw_rounds(document: dict[str, Any]) -> None:
    assert set(document["engines"]) == {OURS, "flax"}
    (case,) = document["results"]
    assert (case["model"], case["batch"], case["threads"]) == ("tiny", 2, 1)
    ours, theirs = case["seconds"][OURS], case["seconds"]["flax"]
    assert len(ours) == len(theirs) == 2
    ratios = [theirs[i] / ours[i] for i in range(2)]
    assert case["ratio"]["min"] == min(ratios)
    assert case["ratio"]["max"] == max(ratios)
    assert case["ratio"]["median"] == pytest.approx(sum(ratios) / 2)
    assert case["ratio_to"] == {"flax": case["ratio"]}


def test_memory_first_result_and_agreement_are_measured(document: dict[str, Any]) -> None:
    (case,) = document["results"]
    assert set(case["peak_megabytes"]) == set(case["seconds_to_first_result"]) == {OURS, "flax"}
    assert min(case["peak_megabytes"].values()) > 1
    assert min(case["seconds_to_first_result"].values()) > 0.01
    assert 0 <= case["difference"]["flax"] < 1e-4


def test_tables_show_the_figures_of_the_json(written: Path, document: dict[str, Any]) -> None:
    tables = (written / "tables.txt").read_text()
    (case,) = document["results"]
    rows = re.findall(rf"{case['name']} +(\S.*)\n", tables)
    times, libraries, rates, memory, first, difference = rows[:6]
    milliseconds = [f"{case['milliseconds'][name]:.1f}" for name in (OURS, "flax")]
    assert times.split()[:3] == [*milliseconds, f"{case['ratio']['median']:.2f}"]
    assert libraries.split()[0] == f"{case['ratio']['median']:.2f}"
    rate = 1e3 * case["gflop"] / case["milliseconds"][OURS]
    assert rates.startswith(f"{rate:.0f} ({case['share_of_peak'][OURS]:.0%})")
    assert memory.split() == [f"{each:.0f}" for each in case["peak_megabytes"].values()]
    assert first.split() == [f"{each:.2f}" for each in case["seconds_to_first_result"].values()]
    assert difference.split() == [f"{case['difference']['flax']:.1e}"]


def test_plot_is_a_picture_and_nothing_else_is_left(written: Path) -> None:
    assert (written / "peers.png").read_bytes().startswith(b"\x89PNG")
    assert {each.name for each in written.iterdir()} == {"peers.json", "peers.png", "tables.txt"}


def test_the_ratio_is_to_the_fastest_peer_of_each_round() -> None:
    result = _result(
        flax=[2.0, 0.5, 4.0], openvino=[3.0, 3.0, 3.0], **{"resfuse-arguments": [0.1] * 3}
    )
    assert result.ratios == [2.0, 0.5, 3.0]
    assert result.ratio == 2.0
    assert result.best_peer == "flax"


def test_libraries_are_ranked_by_the_fastest_of_their_engines() -> None:
    seconds = {"flax": [2.0, 4.0, 4.0], "flax-ynn-off": [3.0, 3.0, 3.0], "openvino": [1.0] * 3}
    found = _result(**seconds).ratios_by_library
    assert found == {"Flax": [2.0, 3.0, 3.0], "OpenVINO": [1.0] * 3}


def test_rates_follow_from_the_arithmetic_and_the_peak_of_each_round() -> None:
    result = dataclasses.replace(
        _result(flax=[2.0, 4.0, 5.0]),
        peaks={OURS: [100.0, 50.0, 20.0], "flax": [100.0] * 3},
    )
    assert result.rates == {OURS: 20.0, "flax": 5.0}
    assert result.shares_of_peak == {OURS: 0.2, "flax": 0.025}  # of both threads


def test_the_verdict_names_what_is_lost() -> None:
    won = _result(flax=[2.0, 2.0, 2.0])
    lost = _result(flax=[2.0, 2.0, 2.0], openvino=[0.8, 0.9, 1.1])
    assert report.verdict([won]) == ["resfuse is the fastest on 1 of 1 cases."]
    heading, line = report.verdict([won, lost])
    assert "slower" in heading
    assert "1 of 2" in heading
    assert line.strip() == f"{lost.case.name}: ratio 0.90 (0.80-1.10), OpenVINO 900.0 ms"


@pytest.mark.usefixtures("tiny")
def test_an_engine_that_disagrees_fails_loudly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = _result(differences=0.5, flax=[2.0, 2.0, 2.0])
    monkeypatch.setattr(command, "measure", lambda *_: iter([wrong]))
    arguments = ("bench", "--peers", *OPTIONS, "--json", tmp_path / "x.json")
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 1
    assert f"flax and resfuse disagree on {wrong.case.name}" in result.stderr.splitlines()[-1]
    assert json.loads((tmp_path / "x.json").read_text())["results"][0]["difference"] == {
        "flax": 0.5
    }


def test_logits_are_compared_to_the_largest_of_ours(tmp_path: Path) -> None:
    prepared, ours = Prepared(tmp_path), np.array([[4.0, -8.0]])
    logits = {
        OURS: ours,
        "near": ours + 1e-6,
        "far": ours + 2,
        "nan": ours * np.nan,
        "cut": ours[:0],
    }
    for name, each in logits.items():
        np.save(prepared.answers(name), each)
    found = differences(prepared, list(logits))
    assert found["far"] == 0.25
    result = dataclasses.replace(_result(), differences=found)
    assert result.disagreeing == ["far", "nan", "cut"]


def test_missing_packages_leave_an_engine_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Engine("Absent", "Absent", "", "", ("json", "no_such_package"))
    monkeypatch.setitem(ENGINES, "absent", absent)
    assert choose_engines(INFERENCE, "absent,flax") == [OURS, "flax"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "resfuse: absent is left out: no_such_package not installed"


def test_everything_is_measured_unless_told_otherwise() -> None:
    cases = choose_cases(INFERENCE, None, None, None, cpus=2)
    assert len(cases) == len(ANSWERING) * 3 * 2
    assert [case.model for case in cases[::6]] == list(ANSWERING)
    assert choose_cases(INFERENCE, "ResNet50,ResNet18", "4", 3, cpus=8) == [
        Case("ResNet18", 4, 3),
        Case("ResNet50", 4, 3),
    ]


def test_one_cpu_measures_one_thread(capsys: pytest.CaptureFixture[str]) -> None:
    assert {case.threads for case in choose_cases(INFERENCE, None, None, None, cpus=1)} == {1}
    assert "no more CPUs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--models", "ResNet18,nothing"), "ResNet18, ResNet34"),
        (("--batches", "1,,8"), "--batches '1,,8'"),
        (("--batches", "0"), "'0' is not a positive number"),
        (("--batches", "many"), "'many'"),
        (("--engines", "nothing"), "onnxruntime, openvino"),
        (("--engines", "resfuse-arguments"), "none to compare with"),
        (("--threads", 100_000), "--threads 100000"),
        (("--filter", "block"), "--filter"),
        (("--engines", "flax", "--plot", "x.txt"), ".png"),
    ],
)
def test_bad_options_are_refused(arguments: tuple[object, ...], why: str) -> None:
    assert_refused("bench", "--peers", *arguments, why=why)


@pytest.mark.parametrize(
    "option", [("--models", "1"), ("--batches", "1"), ("--engines", "1"), ("--train",)]
)
def test_choices_without_peers_are_refused(option: tuple[str, ...]) -> None:
    assert_refused("bench", *option, why="need --peers")


def test_without_the_kernel_there_is_nothing_to_measure() -> None:
    result = resfuse_without("resfuse._ext", "bench", "--peers")
    assert result.returncode == 2
    assert "the kernel is not live" in result.stderr


def test_torch_gets_the_same_weights_in_its_names_and_layout() -> None:
    rng = np.random.default_rng(0)
    shapes = {
        "params/layer1/0/downsample/0/kernel": (3, 5, 2, 4),
        "params/bn1/scale": (2,),
        "params/bn1/bias": (2,),
        "batch_stats/bn1/mean": (2,),
        "batch_stats/bn1/var": (2,),
        "params/fc/kernel": (2, 3),
        "params/fc/bias": (3,),
    }
    flax = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
    state = state_dict(flax)
    assert set(state) == {
        "layer1.0.downsample.0.weight",
        *(f"bn1.{name}" for name in ("weight", "bias", "running_mean", "running_var")),
        "bn1.num_batches_tracked",
        "fc.weight",
        "fc.bias",
    }
    kernel = flax["params/layer1/0/downsample/0/kernel"]
    assert state["layer1.0.downsample.0.weight"][3, 1, 2, 4] == kernel[2, 4, 1, 3]
    assert state["fc.weight"][2, 1] == flax["params/fc/kernel"][1, 2]
    assert all(each.flags.c_contiguous for each in state.values())
