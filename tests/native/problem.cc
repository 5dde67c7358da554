#include "problem.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace resfuse::test {
namespace {

Conv conv(int64_t batch, int64_t in_c, int64_t out_c, Side h, Side w, Side d = {},
          int64_t groups = 1) {
  return {batch, in_c, out_c, groups, d, h, w};
}

Side same(int64_t in, int64_t kernel = 3, int64_t dilation = 1) {
  const int64_t pad = kernel / 2 * dilation;
  return make_side(in, kernel, {1, pad, pad, dilation});
}

}  // namespace

Floats Random::integers(int64_t count, int64_t bound) {
  Floats numbers(static_cast<size_t>(count));
  for (float& each : numbers) each = static_cast<float>(below(2 * bound + 1) - bound);
  return numbers;
}

Floats Random::powers(int64_t count) {
  constexpr float kPowers[] = {-2.0f, -1.0f, -0.5f, 0.25f, 1.0f, 4.0f};
  Floats numbers(static_cast<size_t>(count));
  for (float& each : numbers) each = kPowers[below(6)];
  return numbers;
}

int64_t Random::below(int64_t end) {
  state_ = state_ * 6364136223846793005u + 1442695040888963407u;
  return static_cast<int64_t>((state_ >> 33) % static_cast<uint64_t>(end));
}

Side make_side(int64_t in, int64_t kernel, SideOptions options) {
  Side side{
      in, kernel, 0, options.stride, options.before, options.dilation, options.image_dilation};
  const int64_t whole = (in - 1) * options.image_dilation + 1 + options.before + options.after;
  side.out = std::max<int64_t>(0, (whole - side.extent()) / options.stride + 1);
  return side;
}

std::vector<Case> cases() {
  const Side two{make_side(2)}, five = make_side(5), seven = make_side(7);
  const auto direct = Choice::kDirect, winograd = Choice::kWinograd;
  return {
      {"1x1", conv(2, 64, 33, five, seven), direct},
      {"1x1, stride 2", conv(1, 20, 16, make_side(7, 1, {2}), make_side(8, 1, {2})), direct},
      {"stem", conv(1, 3, 17, make_side(13, 7, {2, 3, 3}), make_side(14, 7, {2, 3, 3})), direct},
      {"3x3", conv(2, 24, 40, same(6), same(9)), direct},
      {"3x3, several passes", conv(1, 1200, 5, same(2), same(3)), direct},
      {"5x2, uneven padding", conv(1, 9, 8, make_side(7, 5, {2, 0, 3}), make_side(6, 2, {3, 2})),
       direct},
      {"dilated", conv(1, 8, 31, same(9, 3, 2), same(8, 3, 3)), direct},
      {"transposed",
       conv(2, 6, 18, make_side(4, 4, {1, 2, 2, 1, 2}), make_side(5, 3, {1, 2, 1, 1, 3})), direct},
      {"cropped", conv(1, 5, 12, make_side(8, 3, {1, -2, 1}), make_side(9, 3, {1, 1, -3})), direct},
      {"1-D", conv(2, 7, 16, {}, make_side(33, 5, {1, 4})), direct},
      {"3-D", conv(1, 6, 20, same(4), same(5), same(3)), direct},
      {"3-D, stride 2", conv(1, 4, 9, make_side(5, 3, {2, 1, 1}), seven, make_side(4, 2, {2})),
       direct},
      {"two groups", conv(1, 40, 24, same(5), same(4), {}, 2), direct},
      {"groups of 16", conv(1, 48, 48, same(4), same(5), {}, 3), direct},
      {"groups of 4", conv(2, 40, 40, same(5), same(6), {}, 10), direct},
      {"groups of 2", conv(1, 36, 36, make_side(7, 3, {2, 1, 1}), same(5), {}, 18), direct},
      {"depthwise", conv(2, 37, 37, same(6, 5), same(7), {}, 37), direct},
      {"no pixels", conv(1, 4, 4, make_side(2, 3), five), direct},
      {"F(4x4, 3x3)", conv(1, 32, 40, same(8), same(10)), winograd},
      {"F(3x3, 3x3)", conv(2, 32, 32, same(6), same(6)), winograd},
      {"F(2x2, 3x3)", conv(1, 48, 33, same(4), same(4)), winograd},
      {"F(5x5, 3x3)", conv(24, 32, 32, same(5), same(5)), winograd},
      {"F(4x4, 3x3), stride 2",
       conv(1, 32, 32, make_side(16, 3, {2, 1, 1}), make_side(15, 3, {2, 1, 1})), winograd},
      {"F(4, 3), a row", conv(1, 32, 35, two, same(23)), winograd},
      {"F(4x4, 3x3), dilated", conv(1, 32, 32, same(12, 3, 2), same(9, 3, 2)), winograd},
      {"F(4x4, 3x3), deep", conv(1, 32, 32, same(8), same(7), same(3)), winograd},
  };
}

void Report::that(bool holds, const std::string& what) {
  ++checks_;
  if (holds) return;
  ++failures_;
  std::printf("%s: %s\n", where_.c_str(), what.c_str());
}

void Report::close(const Floats& got, const Doubles& expected, double tolerance,
                   const std::string& what) {
  double largest = 0.0, worst = 0.0;
  for (const double each : expected) largest = std::max(largest, std::abs(each));
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::abs(got[i] - expected[i]);
    worst = std::isnan(error) ? error : std::max(worst, error);
    if (std::isnan(worst)) break;
  }
  that(got.size() == expected.size() && worst <= tolerance * largest,
       what + " is off by " + std::to_string(worst) + " of " + std::to_string(largest));
}

bool Report::passed() const {
  std::printf("%s: %d of %d checks passed\n", where_.c_str(), checks_ - failures_, checks_);
  return checks_ > 0 && failures_ == 0;
}

}  // namespace resfuse::test
