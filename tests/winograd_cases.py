"""Convolutions that take Winograd's algorithm, by their tiles, and those that do not."""

from kernel_case import Case


def pad(*sides):
    return tuple((pixels, pixels) for pixels in sides)


SAME = ((1, 1), (1, 1))
# Sizes around whole tiles of 4 pixels, output channels around whole vectors and register tiles.
LARGE = [
    Case(2, (8, 8), (32, 32), (3, 3), padding=SAME),
    Case(1, (13, 16), (64, 33), (3, 3), padding=SAME),
    Case(3, (7, 8), (48, 47), (3, 3), padding=SAME, relu=False),
    Case(1, (16, 15), (32, 64), (3, 3), padding=((0, 3), (2, 1)), residual=False),
    Case(1, (18, 22), (64, 100), (3, 3)),
    Case(1, (10, 9), (32, 65), (3, 3), padding=((8, 0), (0, 9))),
    Case(9, (4, 4), (512, 48), (3, 3), padding=SAME),
    Case(2, (8, 8), (1024, 32), (3, 3), padding=SAME),
    # Parts of 128 input channels, whole and cut; weights that stay and that do not; blocks of 64
    # tiles, one more and two in all; tiles of several images in one block.
    Case(1, (32, 32), (160, 33), (3, 3), padding=SAME),
    Case(1, (16, 60), (256, 48), (3, 3), padding=SAME),
    Case(5, (16, 23), (144, 100), (3, 3), padding=SAME),
    Case(7, (8, 12), (272, 40), (3, 3), padding=((0, 2), (2, 0))),
]
# 5x5 outputs need fewer products, or waste less.
LARGEST = [
    Case(3, (14, 14), (512, 33), (3, 3), padding=SAME),
    Case(30, (5, 5), (48, 64), (3, 3), padding=SAME, relu=False),
    Case(1, (20, 52), (256, 48), (3, 3), padding=SAME),
    Case(5, (19, 21), (144, 100), (3, 3), padding=SAME),
    Case(2, (30, 31), (32, 130), (3, 3), padding=SAME, residual=False),
    Case(6, (10, 13), (272, 65), (3, 3), padding=((0, 2), (1, 3))),
]
# Tiles of 3x3 outputs waste less: whole ones and cut ones, with several blocks and parts.
MEDIUM = [
    Case(2, (6, 6), (32, 32), (3, 3), padding=SAME),
    Case(9, (3, 3), (64, 33), (3, 3), padding=SAME),
    Case(2, (5, 6), (48, 47), (3, 3), padding=SAME, relu=False),
    Case(1, (19, 23), (64, 100), (3, 3)),
    Case(70, (3, 3), (32, 65), (3, 3), padding=SAME, residual=False),
    Case(20, (6, 5), (272, 40), (3, 3), padding=((0, 2), (2, 0))),
    Case(1, (9, 9), (1024, 32), (3, 3), padding=SAME),
]
# Few pixels, or 2 in a row: tiles of 2x2, parts of channels, output channels around panels.
SMALL = [
    Case(1, (7, 7), (512, 64), (3, 3), padding=SAME),
    Case(1, (8, 7), (256, 33), (3, 3), padding=SAME, relu=False),
    Case(1, (6, 10), (272, 47), (3, 3), padding=((0, 2), (2, 0)), residual=False),
    Case(20, (2, 2), (400, 100), (3, 3), padding=SAME),
    Case(70, (2, 2), (1024, 32), (3, 3), padding=SAME),
    Case(1, (2, 30), (32, 32), (3, 3), padding=SAME),
]
# Stride 2, in 64 and more tiles of 4x4: whole and cut ones, odd and even images, all paddings,
# output channels around panels; weights that stay and that do not, several blocks and parts.
STRIDED = [
    Case(16, (16, 16), (32, 32), (3, 3), (2, 2), SAME),
    Case(1, (61, 63), (64, 33), (3, 3), (2, 2), SAME),
    Case(17, (15, 16), (48, 47), (3, 3), (2, 2), SAME, relu=False),
    Case(5, (32, 30), (32, 64), (3, 3), (2, 2), ((0, 3), (2, 1)), residual=False),
    Case(6, (25, 31), (64, 100), (3, 3), (2, 2)),
    Case(64, (8, 8), (272, 48), (3, 3), (2, 2), ((0, 1), (0, 1))),
    Case(1, (64, 64), (160, 33), (3, 3), (2, 2), SAME),
    Case(5, (33, 39), (144, 65), (3, 3), (2, 2), ((5, 0), (0, 6))),
]
# And of 2x2.
STRIDED_SMALL = [
    Case(40, (4, 4), (64, 32), (3, 3), (2, 2), SAME),
    Case(2, (16, 16), (1024, 32), (3, 3), (2, 2), SAME),
    Case(2, (27, 28), (32, 33), (3, 3), (2, 2), SAME),
    Case(2, (12, 20), (272, 47), (3, 3), (2, 2), ((0, 1), (1, 0)), residual=False),
    Case(70, (5, 5), (160, 100), (3, 3), (2, 2), relu=False),
]
# Windows that are lines, along the width or the height, and the outputs of their tiles: whole and
# cut ones, blocks of up to 384 of them, with any stride where there is a single tap.
ROW, COLUMN = ((0, 0), (1, 1)), ((1, 1), (0, 0))
LINES = {
    Case(1, (1, 150), (32, 33), (1, 3), padding=ROW): 5,
    Case(2, (3, 1001), (64, 32), (1, 3), padding=ROW, relu=False): 5,
    Case(5, (4, 22), (160, 100), (1, 3), (2, 1), ((1, 0), (0, 2))): 5,
    Case(2, (25, 6), (48, 47), (3, 1), padding=COLUMN, residual=False): 5,
    Case(1, (75, 31), (272, 65), (3, 1), (1, 3)): 5,
    Case(1, (1, 120), (1024, 32), (1, 3), padding=ROW): 4,
    Case(1, (12, 9), (512, 40), (3, 1), padding=COLUMN): 4,
    Case(1, (12, 9), (64, 33), (1, 3), padding=ROW): 3,
    Case(30, (8, 2), (48, 32), (1, 3), padding=ROW): 2,
    # With a stride, where there are many channels.
    Case(1, (1, 480), (272, 33), (1, 3), (1, 2), ROW): 4,
    Case(3, (64, 3), (256, 48), (3, 1), (2, 1), COLUMN): 4,
}

# Dilated windows: whose phases have as many tiles or one less, different ones on each side, cropped
# images, lines; dilations near half of the image.
DILATED = {
    Case(1, (24, 26), (32, 33), (3, 3), padding=pad(2, 2), dilation=(2, 2)): 4,
    Case(2, (33, 33), (64, 32), (3, 3), padding=pad(12, 12), dilation=(12, 12)): 3,
    Case(1, (17, 40), (48, 47), (3, 3), padding=pad(3, 5), dilation=(3, 5), relu=False): 4,
    Case(1, (40, 23), (160, 40), (3, 3), padding=((-1, 2), (0, 1)), dilation=(1, 4)): 4,
    Case(3, (25, 18), (32, 65), (3, 3), padding=pad(8, 6), dilation=(8, 6), residual=False): 3,
    Case(2, (200,), (32, 48), (3,), padding=((14, 0),), dilation=(7,)): 5,
    Case(1, (1000,), (64, 33), (3,), padding=pad(128), dilation=(128,)): 4,
    Case(1, (50, 9), (48, 32), (3, 1), padding=pad(2, 0), dilation=(2, 3)): 5,
}
# Windows with a depth: shallow images and deep ones, tiles of part of the depth, strides and
# dilations of it, several passes, planes and lines of taps, a line along the depth alone.
DEEP = {
    Case(1, (6, 12, 13), (32, 33), (3, 3, 3), padding=pad(1, 1, 1)): 4,
    Case(1, (40, 6, 7), (32, 32), (3, 3, 3), padding=pad(1, 1, 1), relu=False): 4,
    Case(2, (2, 14, 15), (160, 40), (3, 3, 3), padding=pad(1, 1, 1)): 5,
    Case(3, (1, 9, 8), (48, 33), (3, 3, 3), padding=pad(1, 1, 1), residual=False): 3,
    Case(1, (4, 10, 10), (64, 65), (5, 3, 3), padding=((2, 2), (0, 0), (0, 0))): 4,
    Case(1, (11, 10, 10), (48, 32), (5, 3, 3), (2, 1, 1), pad(3, 1, 1), dilation=(2, 1, 1)): 5,
    Case(1, (7, 12, 13), (32, 33), (3, 3, 3), padding=pad(2, 2, 3), dilation=(2, 2, 3)): 4,
    Case(1, (20, 5, 6), (32, 40), (3, 1, 1), padding=pad(1, 0, 0)): 5,
    Case(2, (5, 12, 12), (48, 32), (1, 3, 3), (2, 1, 1), pad(0, 1, 1)): 4,
    Case(1, (5, 3, 40), (32, 33), (3, 1, 3), padding=pad(1, 0, 1)): 5,
    Case(1, (3, 5, 40), (32, 33), (2, 1, 3), padding=((1, -1), (0, 0), (1, 1))): 5,
    # Slices that meet padding alone.
    Case(1, (1, 12, 13), (64, 33), (2, 3, 3), padding=((2, 1), (1, 1), (1, 1))): 4,
}
# Windows of two: planes, lines and with a depth, dilated, whole tiles and cut ones, several passes.
PAIRS = {
    Case(8, (9, 9), (32, 32), (2, 2)): 4,
    Case(6, (7, 9), (48, 47), (2, 2), padding=((1, 0), (0, 1)), relu=False): 4,
    Case(1, (21, 48), (256, 33), (2, 2), padding=((0, 1), (1, 0)), residual=False): 4,
    Case(1, (2, 24, 24), (64, 64), (2, 2, 2)): 4,
    Case(1, (24, 26), (32, 33), (2, 2), padding=((0, 2), (1, 1)), dilation=(2, 3)): 4,
    Case(2, (403,), (32, 48), (2,), padding=((7, 0),), dilation=(7,)): 4,
    Case(30, (3, 3), (64, 65), (2, 2)): 2,
}
TAKEN = (
    dict.fromkeys(LARGEST, 5)
    | dict.fromkeys([*LARGE, *STRIDED], 4)
    | dict.fromkeys(MEDIUM, 3)
    | dict.fromkeys([*SMALL, *STRIDED_SMALL], 2)
    | LINES
    | DILATED
    | DEEP
    | PAIRS
)
# Phases of an image with zeros between its pixels that are windows of two and of three, scattered.
PHASES = [
    Case(1, (16, 17), (64, 33), (4, 4), padding=pad(2, 2), image_dilation=(2, 2)),
    Case(4, (130,), (32, 48), (8,), padding=((3, 2),), image_dilation=(4,), relu=False),
    Case(2, (12, 5, 6), (32, 40), (3, 4, 4), None, pad(1, 1, 2), image_dilation=(1, 2, 2)),
    Case(1, (16, 16), (32, 32), (6, 6), padding=pad(3, 3), image_dilation=(2, 2)),
]
# Wherever whole vectors of channels allow it, also where it does not pay: one tile, one pixel, one
# output channel, few inputs, images of nothing but padding, many channels.
FORCED = [
    Case(1, (4, 4), (16, 16), (3, 3), padding=SAME),
    Case(1, (1, 1), (32, 8), (3, 3), padding=SAME),
    Case(3, (1, 1), (16, 33), (3, 3), padding=((2, 2), (2, 2))),
    Case(1, (3, 3), (16, 1), (3, 3)),
    Case(2, (5, 6), (48, 17), (3, 3), padding=((4, 4), (9, 5))),
    Case(2, (1, 9), (160, 65), (3, 3), padding=SAME),
    Case(1, (2, 2), (1040, 5), (3, 3), padding=SAME),
    Case(1, (3, 3), (16, 1), (3, 3), (2, 2)),
    Case(3, (1, 1), (32, 33), (3, 3), (2, 2), ((2, 2), (2, 2))),
    Case(2, (5, 6), (48, 17), (3, 3), (2, 2), ((4, 4), (9, 5))),
    Case(1, (14, 2), (160, 65), (3, 3), (2, 2), SAME),
    Case(1, (1, 5), (16, 33), (1, 3), padding=ROW),
    Case(1, (1, 1), (32, 8), (3, 1), padding=((2, 2), (0, 0))),
    Case(2, (7, 40), (48, 65), (1, 3), (3, 2), ROW),
    Case(2, (40, 7), (48, 65), (3, 1), (2, 1), COLUMN),
    Case(1, (5, 6), (16, 33), (3, 3), padding=pad(7, 8), dilation=(7, 8)),
    Case(1, (3,), (16, 5), (3,), padding=pad(2), dilation=(2,)),
    Case(1, (1, 1, 1), (32, 8), (3, 3, 3), padding=pad(1, 1, 1)),
    Case(1, (2, 3, 3), (16, 8), (3, 3, 3), padding=pad(5, 1, 1)),
    Case(2, (3, 4, 5), (48, 17), (4, 3, 3), (3, 2, 2), pad(2, 1, 1)),
    Case(1, (9, 16, 17), (32, 48), (3, 3, 3), (2, 2, 2), pad(1, 1, 1)),
    Case(1, (6, 4, 4), (16, 8), (2, 3, 3), None, ((-2, 3), (1, 1), (1, 1)), dilation=(3, 1, 1)),
]
# Of an image with zeros between its pixels, phases have windows of 3, or no taps at all.
TRANSPOSED = [
    Case(1, (7, 7), (16, 32), (6, 6), padding=pad(2, 3), image_dilation=(2, 2)),
    Case(2, (12,), (32, 33), (9,), padding=pad(8), image_dilation=(3,)),
    Case(1, (3, 4, 5), (16, 40), (1, 3, 3), None, pad(0, 1, 1), image_dilation=(3, 1, 1)),
]
# Each breaks one condition: window, strides, groups, channels, few tiles, few pixels in them.
LEFT = [
    Case(2, (12, 12), (32, 32), (5, 5), padding=((2, 2), (2, 2))),
    Case(2, (24, 24), (32, 32), (3, 3), (2, 1), SAME),
    Case(2, (24, 24), (32, 32), (3, 3), (1, 2), SAME),
    Case(2, (36, 36), (32, 32), (3, 3), (3, 3), SAME),
    Case(2, (12, 12), (64, 64), (3, 3), padding=SAME, groups=2),
    Case(2, (12, 12), (33, 32), (3, 3), padding=SAME),
    Case(2, (12, 12), (32, 31), (3, 3), padding=SAME),
    Case(3, (2, 2), (32, 32), (3, 3), padding=SAME),
    Case(32, (3, 1), (32, 32), (3, 3), padding=SAME),
    Case(2, (8, 8), (2048, 32), (3, 3), padding=SAME),
    Case(1, (14, 14), (32, 32), (3, 3), (2, 2), SAME),
    Case(1, (8, 8), (32, 32), (3, 3), (2, 2), SAME),
    Case(2, (1, 400), (64, 64), (1, 3), (1, 2), ROW),
    Case(2, (48, 48), (64, 64), (2, 2), (2, 2)),
    Case(2, (400, 5), (64, 64), (3, 1), (2, 2), COLUMN),
    Case(1, (1, 3), (32, 32), (1, 3), padding=ROW),
    Case(2, (24, 24), (32, 32), (3, 3), (2, 2), pad(2, 2), dilation=(2, 2)),
    Case(1, (2, 24, 24), (64, 64), (2, 3, 2)),
    Case(1, (24, 24), (32, 32), (3, 3), padding=pad(20, 20), dilation=(20, 20)),
    Case(2, (1, 100), (64, 64), (1, 5), padding=((0, 0), (2, 2))),
    Case(2, (100, 100), (64, 64), (1, 1)),
]
