"""How every engine trains: SGD with momentum on one batch, and how far losses may drift apart.

The first losses move far enough for those of a wrong step to differ, and not so far that rounding
grows. In PyTorch, on these networks and from their losses in float64, over the largest loss:
rounding to float32 moves none by more than 2e-5, and a perturbation of the images by 1e-6 or 1e-5,
which is what Winograd's algorithm does, by 1e-4; gradients of the convolutions that are wrong by
1 % move some by 3e-4 to 3e-3, and a missing momentum by 0.04 to 0.3.
"""

LEARNING_RATE = 0.003
MOMENTUM = 0.9
STEPS = 5  # whose losses are compared
TOLERANCE = 3e-4  # of the largest loss
