"""How fast what is learned: the optimizer, and its learning rate by step and by part."""

from collections.abc import Callable
from typing import Any

import optax

from resfuse.cli.training.options import Options
from resfuse.cli.training.parts import map_paths

STEP_FACTOR = 0.1
STEPS_AT = (0.5, 0.75)  # of all steps, as He et al. trained on CIFAR-10


def learning_rate(options: Options, steps: int) -> optax.Schedule:
    """The learning rate by step, for a run of so many ``steps``."""
    if options.schedule == "cosine":
        return optax.cosine_decay_schedule(options.lr, steps)
    if options.schedule == "step":
        drops = {max(1, round(share * steps)): STEP_FACTOR for share in STEPS_AT}
        return optax.piecewise_constant_schedule(options.lr, drops)
    return optax.constant_schedule(options.lr)


def optimizer(options: Options, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer; weight decay is added to the gradients, but by adamw to the weights."""
    if options.optimizer == "adamw":
        return optax.adamw(schedule, weight_decay=options.weight_decay)
    if options.optimizer == "adam":
        update = optax.adam(schedule)
    else:
        update = optax.sgd(schedule, options.momentum or None)
    return optax.chain(optax.add_decayed_weights(options.weight_decay), update)


def scaled(
    rule: optax.GradientTransformation, factor: Callable[[str], float]
) -> optax.GradientTransformation:
    """The same optimizer with another learning rate for each variable, by its path.

    All that :func:`optimizer` makes of a gradient is proportional to the learning rate.
    """

    def update(updates: Any, _: Any = None) -> Any:
        return map_paths(lambda path, each: each * factor(path), updates)

    return optax.chain(rule, optax.stateless(update))
