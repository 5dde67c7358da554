"""A worker of the benchmarks without a process of its own."""

from typing import Any

from resfuse.cli.bench.worker import Requests


class InProcess(Requests):
    """In place of ``resfuse.cli.bench.turns.Worker``."""

    def __init__(self, *_: object, **options: object) -> None:
        pass

    def ask(self, what: str, *arguments: Any) -> Any:
        return getattr(self, what)(*arguments)

    def close(self) -> None:
        pass
