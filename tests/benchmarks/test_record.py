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


def test_commands_follow_the_instruction_sets() -> None:
    asked = list(record.commands(["avx2"], 3))
    assert [isa for _, isa in asked] == ["avx2"]
    command, _ = asked[0]
    assert Path(command[1]).is_file()
    assert command[-2:] == ["--threads", "3"]


def test_an_instruction_set_that_the_machine_lacks_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record.resfuse.ffi, "isas", lambda: ("generic",))
    with pytest.raises(typer.Exit):
        record.main("avx2")
    assert "this machine has no avx2" in capsys.readouterr().err
