import re
from importlib.metadata import version
from pathlib import Path

import pytest

from cli_driver import resfuse, resfuse_without
from resfuse import __version__, ffi


def facts(output: str) -> dict[str, str]:
    """The rows of the table, whose columns are two or more spaces apart."""
    rows = (re.split(" {2,}", line.strip()) for line in output.splitlines())
    return dict(rows)


def test_info_names_versions_and_what_runs() -> None:
    result = resfuse("info")
    assert result.returncode == 0, result.stderr
    table = facts(result.stdout)
    assert table["resfuse"] == __version__
    assert table["jax"] == version("jax")
    assert table["jaxlib"] == version("jaxlib")
    assert table["kernel"] == "live"
    assert table["ISAs found"] == ", ".join(ffi.isas())
    assert table["ISA in use"] in ffi.isas()
    assert ffi.API_VERSION is not None
    assert table["built against FFI"] == ".".join(map(str, ffi.API_VERSION))
    assert "cpu" in table["devices"].lower()


@pytest.mark.parametrize(("isa", "threads"), [*zip(ffi.isas(), "345", strict=False)])
def test_info_follows_the_forced_isa_and_gives_the_threads_of_xla(isa: str, threads: str) -> None:
    table = facts(resfuse("info", RESFUSE_ISA=isa, NPROC=threads).stdout)
    assert (table["ISA in use"], table["threads"]) == (isa, threads)


def test_info_without_the_extension_says_why() -> None:
    result = resfuse_without("resfuse._ext", "info")
    assert result.returncode == 0, result.stderr
    table = facts(result.stdout)
    assert table["kernel"].startswith("not live: ")
    assert len(table["kernel"]) > len("not live: ")
    assert table["ISA in use"] == "-"


@pytest.mark.parametrize(
    ("extra", "module", "command"),
    [
        ("cli", "typer", "info"),
        ("cli", "sklearn", "info"),
        ("train", "tensorboardX", "train"),
        ("train", "datasets", "train --data a-name"),
    ],
)
def test_without_the_extra_one_line_says_what_to_install(
    extra: str, module: str, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    result = resfuse_without(module, *command.split())
    assert result.returncode == 1
    assert result.stderr == f"resfuse: {module} not installed: pip install 'resfuse[{extra}]'\n"
