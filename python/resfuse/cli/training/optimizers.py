"""Optax's optimizers and learning rates, as the options name them."""

import optax  # type: ignore[import-untyped]

from resfuse.cli.training.options import Options

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
