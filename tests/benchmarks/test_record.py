"""The command that measures what documents show."""

from pathlib import Path

import pytest
import typer

import history
import networks
import record
import training
from options import choose

COMPARISONS = {"networks.py": networks.COMPARISON, "training.py": training.COMPARISON}


@pytest.mark.parametrize("run", record.RUNS, ids=lambda run: run.script)
def test_what_is_run_exists_and_is_shown(run: record.Run) -> None:
    comparison = COMPARISONS[run.script]
    options = dict(zip(run.options[::2], run.options[1::2], strict=True))
    assert choose("--models", options["--models"], list(comparison.models))
    assert choose("--engines", options["--engines"], comparison.engines)
    pages = [history.ROOT / "README.md", *(history.ROOT / "docs").glob("*.md")]
    text = "".join(page.read_text() for page in pages)
    for isa in run.isas:
        assert f"<!-- record: {comparison.task.function}-{isa} -->" in text


@pytest.mark.parametrize(("best", "limit"), [("avx512", ["--isa", "avx2"]), ("avx2", [])])
def test_commands_keep_engines_to_what_is_not_the_best(
    monkeypatch: pytest.MonkeyPatch, best: str, limit: list[str]
) -> None:
    monkeypatch.setattr(record.resfuse.ffi, "isas", lambda: (best, "avx2", "generic"))
    (command,) = record.commands(["avx2"], 3)
    assert Path(command[1]).is_file()
    assert command[2 + len(record.RUNS[0].options) :] == [*limit, "--threads", "3"]


def test_an_instruction_set_that_the_machine_lacks_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record.resfuse.ffi, "isas", lambda: ("generic",))
    with pytest.raises(typer.Exit):
        record.main("avx2")
    assert "this machine has no avx2" in capsys.readouterr().err
