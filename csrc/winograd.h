// Winograd's minimal filtering F(4x4, 3x3) and F(2x2, 3x3) for stride 1 (Lavin & Gray 2015):
//
//   U = G g G^T       each 3x3 kernel g, to 6x6 points (or 4x4)           (transform_weights)
//   V = B^T d B       each 6x6 tile d of inputs, likewise                 (transform_inputs)
//   M[p] = V[p] U[p]  for each point p a matrix product over channels     (multiply)
//   y = A^T M A       4x4 outputs (or 2x2), and the epilogue              (transform_outputs)
//
// 36 products make 16 outputs where direct convolution takes 144 (16 make 4 for 36). All four
// stages stay inside one block of tiles, which fits the cache; the products are those of the
// register tile in tile.h. Errors are about 1e-5 of the largest output; NaN and infinity spread
// over their tile.
//
// for some input channels at a time, a part:
//
//   weights U    (points, channels of a part, NR)
//   inputs V     (parts, points, tiles, channels of a part)
//   products M   (points, tiles, NR)

#pragma once

#include "scratch.h"
#include "tile.h"
#include "window.h"

namespace resfuse {
namespace {

// One side of each transform, on vectors of channels. The matrices are Lavin & Gray's, sections 4.1
// and 4.3, from the interpolation points 0, 1, -1, 2, -2 and infinity, for F4 and F2 as many as it
// takes.
struct F4 {
  static constexpr int kOutput = 4, kInput = 6;

  static void kernel(const Vec (&g)[3], Vec (&u)[6]) {
    const Vec even = (g[0] + g[2]) * splat(-1.0f / 6), odd = g[1] * splat(-1.0f / 6);
    const Vec even2 = g[0] * splat(1.0f / 24) + g[2] * splat(1.0f / 6),
              odd2 = g[1] * splat(1.0f / 12);
    u[0] = g[0] * splat(0.25f);
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = even2 + odd2;
    u[4] = even2 - odd2;
    u[5] = g[2];
  }

  static void input(const Vec (&d)[6], Vec (&v)[6]) {
    const Vec two = splat(2.0f), four = splat(4.0f), five = splat(5.0f);
    const Vec even = d[4] - four * d[2], odd = d[3] - four * d[1];
    const Vec even2 = d[4] - d[2], odd2 = two * (d[3] - d[1]);
    v[0] = four * d[0] + (d[4] - five * d[2]);
    v[1] = even + odd;
    v[2] = even - odd;
    v[3] = even2 + odd2;
    v[4] = even2 - odd2;
    v[5] = four * d[1] + (d[5] - five * d[3]);
  }

  static void output(const Vec (&m)[6], Vec (&y)[4]) {
    const Vec even = m[1] + m[2], odd = m[1] - m[2];
    const Vec even2 = m[3] + m[4], odd2 = m[3] - m[4];
    y[0] = m[0] + even + even2;
    y[1] = odd + splat(2.0f) * odd2;
    y[2] = even + splat(4.0f) * even2;
    y[3] = odd + splat(8.0f) * odd2 + m[5];
  }
};

struct F2 {
  static constexpr int kOutput = 2, kInput = 4;

  static void kernel(const Vec (&g)[3], Vec (&u)[4]) {
    const Vec even = (g[0] + g[2]) * splat(0.5f), odd = g[1] * splat(0.5f);
    u[0] = g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
  }

  static void input(const Vec (&d)[4], Vec (&v)[4]) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[3] - d[1];
  }

  static void output(const Vec (&m)[4], Vec (&y)[2]) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] + m[3];
  }
};

// Both sides: columns first, then rows. `in(i, j)` reads, `out(i, j, value)` writes.
template <int In, int Out, typename Transform, typename Read, typename Write>
inline void transform_square(Transform transform, Read in, Write out) {
  Vec half[Out][In];
#pragma GCC unroll 6
  for (int j = 0; j < In; ++j) {
    Vec column[In], result[Out];
#pragma GCC unroll 6
    for (int i = 0; i < In; ++i) column[i] = in(i, j);
    transform(column, result);
#pragma GCC unroll 6
    for (int i = 0; i < Out; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < Out; ++i) {
    Vec result[Out];
    transform(half[i], result);
#pragma GCC unroll 6
    for (int j = 0; j < Out; ++j) out(i, j, result[j]);
  }
}

template <typename F>
class Winograd {
  static constexpr int kOutput = F::kOutput, kInput = F::kInput, kPoints = kInput * kInput;

 public:
  // `packed` holds the panels of `unit`.
  Winograd(const Job& job, Memory& memory, const Unit& unit, const float* packed)
      : conv_(job.conv),
        plan_(job.plan),
        operands_(job.operands),
        memory_(memory),
        scratch_(lay_out(job.plan, memory.bytes)),
        unit_(unit),
        packed_(packed),
        inputs_point_(plan_.block_size * plan_.part_channels + kWinogradPad),
        products_point_(plan_.block_size * kNR + kWinogradPad),
        weights_point_(plan_.part_channels * kNR + kWinogradPad),
        products_(scratch_.work),
        weights_(products_ + kPoints * products_point_),
        inputs_(weights_ + kPoints * weights_point_ * (plan_.resident ? plan_.unit_panels : 1)) {}

  void run() const {
    if (plan_.resident && memory_.transformed_panel != unit_.first_panel)
      for (int64_t panel = unit_.first_panel; panel < unit_.last_panel; ++panel)
        transform_weights(panel, 0, conv_.in_c);
    memory_.transformed_panel = unit_.first_panel;
    for (int64_t block = unit_.first_block; block < unit_.last_block; ++block) run_block(block);
  }

 private:
  // The first output pixel of a tile, which reads inputs from (y - pad_top, x - pad_left) on.
  struct Position {
    int64_t image, y, x;
  };

  void run_block(int64_t block) const {
    const int64_t first = block * plan_.block_size;
    const int64_t all = conv_.batch * plan_.tiles_h * plan_.tiles_w;
    const int64_t tiles = smaller(plan_.block_size, all - first);
    if (memory_.transformed_block != block)
      for (int64_t t = 0; t < tiles; ++t) transform_inputs(first + t, t);
    memory_.transformed_block = block;
    for (int64_t panel = unit_.first_panel; panel < unit_.last_panel; ++panel) {
      for (int64_t c = 0; c < conv_.in_c; c += plan_.part_channels) {
        const int64_t channels = smaller(plan_.part_channels, conv_.in_c - c);
        if (!plan_.resident) transform_weights(panel, c, channels);
        multiply(panel, c, channels, tiles);
      }
      const Panel span = panel_at(conv_, plan_.layout, panel);
      const Output output(operands_, span.channel);
      for (int64_t t = 0; t < tiles; ++t) transform_outputs(output, first + t, t, span.columns);
    }
  }

  Position locate(int64_t tile) const {
    const int64_t row = tile / plan_.tiles_w;
    return {row / plan_.tiles_h, row % plan_.tiles_h * kOutput, tile % plan_.tiles_w * kOutput};
  }

  float* weights(int64_t panel) const {
    return weights_ + (plan_.resident ? panel - unit_.first_panel : 0) * kPoints * weights_point_;
  }
  float* inputs(int64_t c) const {
    return inputs_ + c / plan_.part_channels * kPoints * inputs_point_;
  }

  void transform_weights(int64_t panel, int64_t first, int64_t channels) const {
    const int64_t tap = conv_.in_c * kNR;
    const float* from = packed_ + (panel - unit_.first_panel) * 9 * tap + first * kNR;
    float* to = weights(panel);
    for (int64_t n = 0; n < channels * kNR; n += kLanes)
      transform_square<3, kInput>(
          F::kernel, [&](int i, int j) { return load(from + (i * 3 + j) * tap + n); },
          [&](int i, int j, Vec u) { store(to + (i * kInput + j) * weights_point_ + n, u); });
  }

  void transform_inputs(int64_t tile, int64_t t) const {
    const Position at = locate(tile);
    const float* in[kInput][kInput];
    for (int64_t i = 0; i < kInput; ++i)
      for (int64_t j = 0; j < kInput; ++j) {
        const int64_t y = at.y - conv_.pad_top + i, x = at.x - conv_.pad_left + j;
        const bool inside = y >= 0 && y < conv_.in_h && x >= 0 && x < conv_.in_w;
        const int64_t pixel = (at.image * conv_.in_h + y) * conv_.in_w + x;
        in[i][j] = inside ? operands_.in + pixel * conv_.in_c : kZeros;
      }
    for (int64_t first = 0; first < conv_.in_c; first += plan_.part_channels) {
      const int64_t channels = smaller(plan_.part_channels, conv_.in_c - first);
      float* to = inputs(first) + t * channels;
      for (int64_t c = 0; c < channels; c += kLanes)
        transform_square<kInput, kInput>(
            F::input, [&](int i, int j) { return load(in[i][j] + first + c); },
            [&](int i, int j, Vec v) { store(to + (i * kInput + j) * inputs_point_ + c, v); });
    }
  }

  // Adds the products over `channels` from `c` on.
  void multiply(int64_t panel, int64_t c, int64_t channels, int64_t tiles) const {
    Tile tile{};
    tile.rows = scratch_.rows;
    tile.runs = 1;
    tile.length = channels;
    tile.first = c == 0;
    for (int64_t point = 0; point < kPoints; ++point) {
      tile.panel = weights(panel) + point * weights_point_;
      const float* in = inputs(c) + point * inputs_point_;
      float* products = products_ + point * products_point_;
      for_each_tile(tiles, [&](int64_t first, int64_t m) {
        for (int64_t i = 0; i < m; ++i) scratch_.rows[i] = in + (first + i) * channels;
        tile.acc = products + first * kNR;
        tile_function<Dense>(m, kVectors)(tile);
      });
    }
  }

  void transform_outputs(const Output& output, int64_t tile, int64_t t, int64_t columns) const {
    const Position at = locate(tile);
    const float* from = products_ + t * kNR;
    for (int64_t n = 0; n < columns; n += kLanes)
      transform_square<kInput, kOutput>(
          F::output,
          [&](int i, int j) { return load(from + (i * kInput + j) * products_point_ + n); },
          [&](int i, int j, Vec y) {
            if (at.y + i >= conv_.out_h || at.x + j >= conv_.out_w) return;
            const int64_t row = (at.image * conv_.out_h + at.y + i) * conv_.out_w;
            finish_vector(output, (row + at.x + j) * conv_.out_c, n, columns - n, y);
          });
  }

  const Conv& conv_;
  const Plan& plan_;
  const Operands& operands_;
  Memory& memory_;
  Scratch& scratch_;
  const Unit unit_;
  const float* const packed_;
  const int64_t inputs_point_, products_point_, weights_point_;  // floats from point to point
  float *const products_, *const weights_, *const inputs_;
};

}  // namespace
}  // namespace resfuse
