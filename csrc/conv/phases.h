// A convolution of an image with zeros between its pixels, as convolutions without.
//
// Along a side with stride s, window dilation d and image dilation b, output y meets tap i where
// y s - pad + i d is a multiple of b. With P = b / gcd(b, s) and T = b / gcd(b, d), the outputs
// y0, y0 + P, y0 + 2P, ... of a *phase* meet the taps i0, i0 + T, i0 + 2T, ... of a *class*, if
// any:
//
//   out[y0 + P u] = sum over t of  in[q + s / gcd(b, s) u + d / gcd(b, d) t] * kernel[i0 + T t],
//   q = (y0 s - pad + i0 d) / b,
//
// a convolution without image dilation, whose outputs are scattered. All phases together multiply
// by no zero between pixels, and each output is in one of them: some phases have no taps, and
// outputs of an empty sum. A class belongs to one phase at most. Where the image is not dilated,
// all is one phase.
//
// A dilated window may hang so far over the edge that a third or half of its taps meet nothing but
// padding. Then a phase is cut further, into *regions*: on each side, outputs that meet the same
// taps inside the image, a subset of the phase's. For the weight gradient it is cut by taps
// instead, each with the outputs that meet it.
//
// The input gradient is a convolution of the output's gradient as well:
//
//   d_in[x] = sum over (y, i) with x b = y s - pad + i d  of  d_out[y] * kernel[i],
//
// which is `mirrored(conv)`: stride and image dilation change places, and so do inputs and outputs;
// the kernel is flipped, i to K - 1 - i, and the padding is (K - 1) d - pad.

#pragma once

#include <vector>

#include "conv/conv.h"
#include "conv/pack.h"
#include "conv/side_phases.h"

namespace resfuse {

struct Phase {
  Conv conv;  // without image dilation
  Taps taps;
  Scatter scatter;
};

// All phases, whole or cut, with an input gradient's kernel if `mirrored`.
std::vector<Phase> phases(const Conv& conv, bool mirrored, Parts parts = Parts::kPhases);
// Whether parts cost less than so many products of an input and an output channel, what the whole
// takes: only where runs of a tile are long, and taps few enough that parts are not many.
bool cutting_pays(const Conv& conv, int64_t products);
// How many there are at most; a double does not overflow.
double count_phases(const Conv& conv);
// All classes of taps, in the order in which packed weights hold them. It depends on the kernel's
// size and on the dilations alone, so weights may be packed without an image.
std::vector<Taps> tap_classes(const Conv& conv, bool mirrored);

// The convolution of d_out that is the input gradient.
Conv mirrored(const Conv& conv);

}  // namespace resfuse
