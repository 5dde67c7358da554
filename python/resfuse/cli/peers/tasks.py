"""What the engines are asked to do: answer images, or train."""

import dataclasses
from collections.abc import Mapping

from resfuse.cli.peers import recipe
from resfuse.cli.peers.models import ANSWERING, TRAINED, Model


@dataclasses.dataclass(frozen=True)
class Task:
    """What is measured, how it is checked, and the words for it."""

    name: str  # engines do it in modules named so
    call: str
    answer: str  # what a call returns
    answers: str  # what is compared
    models: Mapping[str, Model]
    threads: tuple[int, ...]  # by default; none for as many as there are CPUs
    calls: int  # whose answers are compared
    tolerance: float  # of the largest answer
    trains: bool


INFERENCE = Task(
    name="run",
    call="call",
    answer="logits",
    answers="logits",
    models=ANSWERING,
    threads=(1, 2),
    calls=1,
    tolerance=1e-3,  # float32 in another order stays far below
    trains=False,
)
TRAINING = Task(
    name="train",
    call="training step",
    answer="loss",
    answers=f"losses of the first {recipe.STEPS} steps",
    models=TRAINED,
    threads=(),
    calls=recipe.STEPS,
    tolerance=recipe.TOLERANCE,
    trains=True,
)
