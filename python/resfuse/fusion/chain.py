"""A convolution and what follows it, as the kernel takes it: the data."""

import dataclasses
from collections.abc import Mapping, Sequence

from resfuse.fusion.geometry import Geometry
from resfuse.fusion.graph import Node, Value
from resfuse.fusion.head import Head
from resfuse.fusion.layout import Layout
from resfuse.fusion.operands import Operand
from resfuse.fusion.steps import Step
from resfuse.fusion.symbolic.formulas import Affine
from resfuse.fusion.symbolic.polynomial import Polynomial
from resfuse.fusion.tail import Tail
from resfuse.purpose import Purpose
from resfuse.spec import ConvSpec

__all__ = ["Chain", "Norm", "Packed"]


@dataclasses.dataclass(frozen=True)
class Norm:
    """Batch norm with the statistics of the batch, which comes after the steps.

    ``symbolic/batch_norm.py`` finds it. ``statistics`` are the values that follow from mean and
    variance alone, and how, each with the axis of its channels.
    """

    affine: Affine
    statistics: Mapping[Value, tuple[Polynomial, int]]


@dataclasses.dataclass(frozen=True)
class Packed:
    """A kernel's packed weights: as they are, and where they lie among those packed with them.

    There, scale and shift may follow them.
    """

    value: Value
    together: Value  # (rows, channels of a panel)
    first_row: int
    has_numbers: bool


@dataclasses.dataclass(eq=False, repr=False)
class Chain:
    """A convolution and what follows it; the tail follows ``start``, which has the ``layout``.

    ``x`` are the images, which ``geometry`` pads; the ``head`` says what they are computed from.
    ``refused`` are elementwise nodes that are not in the tail, and why. ``prepare.py`` adds what it
    computed of weights that do not change, ``origins.py`` where the origins of ``x`` and of the
    result are.
    """

    conv: Node
    x: Value
    geometry: Geometry
    layout: Layout
    start: Value
    nodes: list[Node]
    steps: list[Step] = dataclasses.field(default_factory=list)
    norm: Norm | None = None
    head: Head | None = None
    tail: Tail | None = None
    refused: Mapping[Node, str] = dataclasses.field(default_factory=dict)
    folded: tuple[Value, Value] | None = None  # scale and shift, if they are known
    before: tuple[Value, ...] | None = None  # the head's scale and shift, if they are known
    prepared: dict[Operand, Value] = dataclasses.field(default_factory=dict)
    packed: Packed | None = None
    origin_of_x: Value | None = None
    origin: Value | None = None

    @property
    def spec(self) -> ConvSpec:
        """The static half of the convolution."""
        return self.geometry.spec

    @property
    def kernel(self) -> Value:
        """The weights."""
        return self.conv.inputs[self.geometry.operands[1]]

    @property
    def channels(self) -> int:
        """How many the result has."""
        return self.layout.shape[self.layout.channels]

    @property
    def operands(self) -> Sequence[Operand]:
        """What the tail reads."""
        return self.tail.operands if self.tail else ()

    @property
    def images(self) -> Sequence[Value]:
        """The images that it reads: the head's parts, or ``x``."""
        return self.head.parts if self.head else [self.x]

    @property
    def claims(self) -> list[Node]:
        """The equations that no other chain shall compute."""
        return [*(self.head.nodes if self.head else ()), *self.nodes]

    @property
    def numbers(self) -> list[Value]:
        """What the steps read, and the norm."""
        operands = [step.operand for step in self.steps if step.operand is not None]
        return [*operands, *(self.norm.affine.inputs.values() if self.norm else ())]

    @property
    def reads(self) -> list[Value]:
        """All that its call needs, derivatives included."""
        return self.reads_for(Purpose.ANYTHING)

    def reads_for(self, purpose: Purpose) -> list[Value]:
        """What of that is needed there: what only runs reads no kernel beside packed weights."""
        operands = [self.prepared.get(operand, operand.value) for operand in self.operands]
        before = self.before or (self.head.numbers if self.head else ())
        return [*self.images, *before, *self._weights(purpose), *operands]

    def _weights(self, purpose: Purpose) -> list[Value]:
        numbers = self.folded or self.numbers
        if self.packed is None:
            return [self.kernel, *numbers]
        if purpose is not Purpose.RUNNING:
            return [self.kernel, self.packed.value, *numbers]
        return [self.packed.together, *(() if self.packed.has_numbers else numbers)]

    @property
    def results(self) -> Sequence[tuple[Value, Layout]]:
        """Its images, the main one first, and how they lie."""
        return self.tail.outputs if self.tail else [(self.start, self.layout)]

    @property
    def outputs(self) -> list[Value]:
        """All that its call computes."""
        images = [value for value, _ in self.results]
        return [*images, *(self.norm.statistics if self.norm else ())]
