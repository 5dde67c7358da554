"""How a run goes on, on standard error: a bar on a terminal, and lines anywhere else."""

import datetime
from collections import deque

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from resfuse.cli.training.metrics import Row

WINDOW = 50  # steps that the pace is a mean over


class Pace:
    """How fast the latest steps were; the first of all, which compiles, does not count."""

    def __init__(self) -> None:
        self._seconds: deque[float] | None = None

    def add(self, seconds: float) -> None:
        """Takes note of a step."""
        if self._seconds is None:
            self._seconds = deque(maxlen=WINDOW)
        else:
            self._seconds.append(seconds)

    @property
    def seconds_per_step(self) -> float | None:
        """``None`` before the second step."""
        return sum(self._seconds) / len(self._seconds) if self._seconds else None


class Display:
    """Shows rows of the metrics, and between them the bar."""

    def __init__(self, epochs: int, steps: int, done: int) -> None:
        self._epochs, self._steps = epochs, steps
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task = self._bar.add_task("", total=steps, completed=done, numbers="")
        self._bar.start()

    def advance(self, row: Row) -> None:
        """Moves the bar to a step."""
        numbers = f"loss {row.loss:.4f}  accuracy {row.accuracy:.1%}{_speed(row)}"
        epoch = f"epoch {row.epoch}/{self._epochs}"
        self._bar.update(self._task, completed=row.step, description=epoch, numbers=numbers)

    def tell(self, row: Row, seconds_per_step: float | None) -> None:
        """Writes a row as a line; on a terminal only those of whole epochs."""
        if self.console.is_terminal and row.of == "step":
            return
        line = f"epoch {row.epoch}/{self._epochs}  step {row.step}/{self._steps}"
        line += f"  loss {row.loss:.4f}  accuracy {row.accuracy:.1%}"
        if row.test_loss is not None:
            line += f"  test loss {row.test_loss:.4f}  test accuracy {row.test_accuracy:.1%}"
        line += _speed(row)
        if seconds_per_step is not None:
            left = round(seconds_per_step * (self._steps - row.step))
            line += f"  {datetime.timedelta(seconds=left)} left"
        self.console.print(line)

    def close(self) -> None:
        """Takes the bar away."""
        self._bar.stop()


def _speed(row: Row) -> str:
    return "" if row.images_per_second is None else f"  {row.images_per_second:,.0f} images/s"
