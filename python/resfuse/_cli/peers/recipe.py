"""How every engine trains: SGD with momentum on one batch, and how far losses may drift apart.

The loss falls by a quarter or more in the first steps, so that those of a wrong step differ, and
rounding hardly grows. In PyTorch, from float64: rounding to float32 moves no loss by more than
3e-5 of the largest, nor does a perturbation of 1e-5, Winograd's error, of the images; gradients of
convolutions that are wrong by 1 % do by 1e-3, a missing momentum by 0.1.
"""

LEARNING_RATE = 0.003
MOMENTUM = 0.9
STEPS = 5  # whose losses are compared
TOLERANCE = 2e-4  # of the largest loss
