// The passes of batch norm in training, on whole numbers: exact. And layer norm and group norm.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "norm/run_group_norm.h"
#include "tests.h"

namespace resfuse::test {
namespace {

constexpr Gate kRelu = {{0.0f, kUnbounded}, false, 0.0f};

struct Arrays {
  int64_t pixels, channels;
  Floats conv, residual, y, d_y, mean, scale, shift;

  Arrays(int64_t pixels, int64_t channels) : pixels(pixels), channels(channels) {
    Random random;
    for (Floats* const image : {&conv, &residual, &y, &d_y})
      *image = random.integers(pixels * channels);
    mean = random.integers(channels), shift = random.integers(channels);
    scale = random.powers(channels);
  }
  size_t channel_of(size_t i) const { return i % static_cast<size_t>(channels); }
  double deviation(size_t i) const { return static_cast<double>(conv[i]) - mean[channel_of(i)]; }
  // The gradient that ReLU lets pass.
  double gated(size_t i) const { return y[i] > 0.0f ? d_y[i] : 0.0; }
  Norm norm() const {
    return {pixels,   channels, d_y.data(), conv.data(), mean.data(),
            y.data(), nullptr,  nullptr,    &kRelu};
  }
};

void check_normalize(const Isa& isa, const Arrays& of, Report& report) {
  Floats out(of.conv.size());
  Doubles expected(out.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t c = of.channel_of(i);
    expected[i] = std::max(0.0, of.deviation(i) * of.scale[c] + of.shift[c] + of.residual[i]);
  }
  Threads workers;
  const Normalize norm{of.pixels,          of.channels,     of.conv.data(),
                       of.mean.data(),     of.scale.data(), of.shift.data(),
                       of.residual.data(), &kRelu,          false};
  run_normalize(isa, norm, out.data(), 2, workers.schedule());
  report.close(out, expected, 0.0, "normalized");
}

void check_sums(const Isa& isa, const Arrays& of, Report& report) {
  Floats plain(of.mean.size()), weighted(of.mean.size());
  Doubles g(plain.size()), products(plain.size());
  for (size_t i = 0; i < of.conv.size(); ++i) {
    g[of.channel_of(i)] += of.gated(i);
    products[of.channel_of(i)] += of.gated(i) * of.deviation(i);
  }
  Threads workers;
  report.that(run_norm_sums(isa, of.norm(), plain.data(), weighted.data(), 2, workers.schedule()),
              "there is memory");
  report.close(plain, g, 0.0, "the sum of the gradient");
  report.close(weighted, products, 0.0, "the sum of the gradient times the deviation");
}

void check_gradient(const Isa& isa, const Arrays& of, Report& report) {
  const size_t size = of.conv.size();
  Floats d_conv(size), d_residual(size);
  Doubles expected(size), gate(size);
  for (size_t i = 0; i < size; ++i) {
    const size_t c = of.channel_of(i);
    gate[i] = of.gated(i);
    expected[i] = of.scale[c] * gate[i] + of.shift[c] * of.deviation(i) + of.mean[c];
  }
  Threads workers;
  run_norm_gradient(isa, of.norm(), {of.scale.data(), of.shift.data(), of.mean.data()},
                    d_conv.data(), d_residual.data(), 2, workers.schedule());
  report.close(d_conv, expected, 0.0, "the gradient by the convolution");
  report.close(d_residual, gate, 0.0, "the gradient by the residual");
}

// (x - mean) / sqrt(var + 1) * scale + shift of some of the numbers.
void normalise(const Arrays& of, const std::vector<size_t>& places, Doubles& to) {
  const auto count = static_cast<double>(places.size());
  double mean = 0.0, var = 0.0;
  for (const size_t i : places) mean += of.conv[i] / count;
  for (const size_t i : places) var += std::pow(of.conv[i] - mean, 2.0) / count;
  for (const size_t i : places)
    to[i] = (of.conv[i] - mean) / std::sqrt(var + 1.0) * of.scale[of.channel_of(i)] +
            of.shift[of.channel_of(i)];
}

// Whole numbers have exact sums; what is left are the roundings of a division by their number, of
// squares and their sum, of a root and of products: fewer than 16 of terms below 16.
constexpr double kRoundings = 16 * 16 * 0x1p-24;

void check_layer_norm(const Isa& isa, const Arrays& of, Report& report) {
  Floats out(of.conv.size());
  Doubles expected(out.size());
  for (size_t first = 0; first < out.size(); first += of.mean.size()) {
    std::vector<size_t> pixel(of.mean.size());
    std::iota(pixel.begin(), pixel.end(), first);
    normalise(of, pixel, expected);
  }
  Threads workers;
  const LayerNorm norm{of.pixels, of.channels, of.conv.data(), of.scale.data(), of.shift.data(),
                       1.0f,      true};
  run_layer_norm(isa, norm, out.data(), 2, workers.schedule());
  report.close(out, expected, kRoundings, "layer norm");
}

// Of two images, each channel a group.
void check_group_norm(const Isa& isa, const Arrays& of, Report& report) {
  Floats out(of.conv.size());
  Doubles expected(out.size());
  const size_t channels = of.mean.size(), image = out.size() / 2;
  for (size_t first = 0; first < 2 * channels; ++first) {
    std::vector<size_t> group;
    const size_t begin = first / channels * image;
    for (size_t i = begin + first % channels; i < begin + image; i += channels) group.push_back(i);
    normalise(of, group, expected);
  }
  Threads workers;
  const GroupNorm norm{2,
                       of.pixels / 2,
                       of.channels,
                       of.channels,
                       of.conv.data(),
                       of.scale.data(),
                       of.shift.data(),
                       1.0f,
                       nullptr,
                       false};
  report.that(run_group_norm(isa, norm, out.data(), 2, workers.schedule()), "there is memory");
  report.close(out, expected, kRoundings, "group norm");
}

}  // namespace

void test_norms(const Isa& isa, Report& report) {
  for (const int64_t channels : {1, 5, 16, 67}) {
    const Arrays arrays(700, channels);
    check_normalize(isa, arrays, report);
    check_sums(isa, arrays, report);
    check_gradient(isa, arrays, report);
    check_layer_norm(isa, arrays, report);
    check_group_norm(isa, arrays, report);
  }
}

}  // namespace resfuse::test
