"""The command line as a user calls it."""

import os
import signal
import subprocess
import sys
from typing import IO

import pytest
from typer.testing import CliRunner

from resfuse.cli import main
from resfuse.cli.app import app

COMMAND = (sys.executable, "-m", "resfuse.cli")


def resfuse(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs ``resfuse`` with these arguments, in a process of its own."""
    return _run(*COMMAND, *map(str, arguments), **environment)


def resfuse_without(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs ``resfuse`` where ``module`` cannot be imported."""
    program = f"import sys; sys.modules[{module!r}] = None; from resfuse.cli import main; main()"
    return _run(sys.executable, "-c", program, *map(str, arguments))


def ended(*arguments: str) -> object:
    """What ``main`` in this process exits with: a number, or a message for standard error."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["resfuse", *arguments])
        patch.setattr(sys, "stdout", sys.stdout)  # they may be replaced
        patch.setattr(sys, "stderr", sys.stderr)
        with pytest.raises(SystemExit) as end:
            main()
    signal.signal(signal.SIGINT, before)
    return end.value.code


def resfuse_into(stdout: IO[str], *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs ``resfuse`` with this standard output."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=300)


def assert_refused(*arguments: object, why: str) -> None:
    """``resfuse`` with these arguments ends with code 2, and its last line says why."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 2
    assert not result.stdout
    assert why in result.stderr.splitlines()[-1]


def _run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {"COLUMNS": "200"}  # no wrapped lines
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | settings | environment,
        timeout=300,
    )
