// Winograd's minimal filtering F(4x4, 3x3) for stride 1 (Lavin & Gray 2015, section 4.3):
//
//   U = G g G^T       each 3x3 kernel g, to 6x6 points                    (pack)
//   V = B^T d B       each 6x6 tile d of inputs, likewise                 (transform_inputs)
//   M[p] = V[p] U[p]  for each point p a matrix product over channels     (multiply)
//   y = A^T M A       4x4 outputs, and the epilogue                       (transform_outputs)
//
// 36 products make 16 outputs where direct convolution takes 144. All four stages stay inside one
// block of tiles, which fits the cache; the products are those of the register tile in tile.h.
// Errors are about 1e-5 of the largest output; NaN and infinity spread over their 4x4 tile.
//
//   packed weights   (2 register tiles, 36 points, in_c, NR)
//   inputs V         (36 points, tiles, in_c)
//   products M       (36 points, tiles, NR)

#pragma once

#include "scratch.h"
#include "tile.h"

namespace resfuse {
namespace {

// One side of each transform, on vectors of channels. The matrices are Lavin & Gray's, from the
// interpolation points 0, 1, -1, 2, -2 and infinity.
inline void transform_kernel(const Vec (&g)[3], Vec (&u)[6]) {
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

inline void transform_input(const Vec (&d)[6], Vec (&v)[6]) {
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

inline void transform_output(const Vec (&m)[6], Vec (&y)[4]) {
  const Vec even = m[1] + m[2], odd = m[1] - m[2];
  const Vec even2 = m[3] + m[4], odd2 = m[3] - m[4];
  y[0] = m[0] + even + even2;
  y[1] = odd + splat(2.0f) * odd2;
  y[2] = even + splat(4.0f) * even2;
  y[3] = odd + splat(8.0f) * odd2 + m[5];
}

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

class Winograd {
 public:
  Winograd(const Job& job, Scratch& scratch, int64_t panel)
      : conv_(job.conv),
        plan_(job.plan),
        operands_(job.operands),
        scratch_(scratch),
        channel_(panel * kWinogradPanel * kNR),
        end_(smaller(channel_ + kWinogradPanel * kNR, conv_.out_c)),
        inputs_point_(plan_.block_size * conv_.in_c + kWinogradPad),
        products_point_(plan_.block_size * kNR + kWinogradPad),
        weights_point_(conv_.in_c * kNR + kWinogradPad) {}

  void pack() const {
    for (int64_t o = channel_, part = 0; o < end_; o += kNR, ++part)
      for (int64_t c = 0; c < conv_.in_c; ++c)
        for (int64_t n = 0; n < kNR; n += kLanes) {  // zeros beyond the last channel
          const float* from = operands_.kernel + c * conv_.out_c + o + n;
          float* to = weights(part) + c * kNR + n;
          transform_square<3, 6>(
              transform_kernel,
              [&](int i, int j) {
                return load_some(from + (i * 3 + j) * conv_.in_c * conv_.out_c, end_ - o - n);
              },
              [&](int i, int j, Vec u) { store(to + (i * 6 + j) * weights_point_, u); });
        }
  }

  void run_block(int64_t block) const {
    const int64_t first = block * plan_.block_size;
    const int64_t all = conv_.batch * plan_.tiles_h * plan_.tiles_w;
    const int64_t tiles = smaller(plan_.block_size, all - first);
    for (int64_t t = 0; t < tiles; ++t) transform_inputs(first + t, t);
    for (int64_t o = channel_, part = 0; o < end_; o += kNR, ++part) {
      multiply(part, tiles);
      const Output output(operands_, o);
      for (int64_t t = 0; t < tiles; ++t) transform_outputs(output, first + t, t, end_ - o);
    }
  }

 private:
  // The first output pixel of a tile, which reads inputs from (y - pad_top, x - pad_left) on.
  struct Position {
    int64_t image, y, x;
  };

  Position locate(int64_t tile) const {
    const int64_t row = tile / plan_.tiles_w;
    return {row / plan_.tiles_h, row % plan_.tiles_h * kWinogradOutput,
            tile % plan_.tiles_w * kWinogradOutput};
  }

  float* weights(int64_t part) const {
    return scratch_.panel + part * kWinogradPoints * weights_point_;
  }
  float* inputs() const { return scratch_.work; }
  float* products() const { return scratch_.work + kWinogradPoints * inputs_point_; }

  void transform_inputs(int64_t tile, int64_t t) const {
    const Position at = locate(tile);
    const float* in[6][6];
    for (int64_t i = 0; i < 6; ++i)
      for (int64_t j = 0; j < 6; ++j) {
        const int64_t y = at.y - conv_.pad_top + i, x = at.x - conv_.pad_left + j;
        const bool inside = y >= 0 && y < conv_.in_h && x >= 0 && x < conv_.in_w;
        const int64_t pixel = (at.image * conv_.in_h + y) * conv_.in_w + x;
        in[i][j] = inside ? operands_.in + pixel * conv_.in_c : kZeros;
      }
    float* to = inputs() + t * conv_.in_c;
    for (int64_t c = 0; c < conv_.in_c; c += kLanes)
      transform_square<6, 6>(
          transform_input, [&](int i, int j) { return load(in[i][j] + c); },
          [&](int i, int j, Vec v) { store(to + (i * 6 + j) * inputs_point_ + c, v); });
  }

  void multiply(int64_t part, int64_t tiles) const {
    Tile tile{};
    tile.rows = scratch_.rows;
    tile.runs = 1;
    tile.length = conv_.in_c;
    tile.first = true;
    for (int64_t point = 0; point < kWinogradPoints; ++point) {
      tile.panel = weights(part) + point * weights_point_;
      for_each_tile(tiles, [&](int64_t first, int64_t m) {
        for (int64_t i = 0; i < m; ++i)
          scratch_.rows[i] = inputs() + point * inputs_point_ + (first + i) * conv_.in_c;
        tile.acc = products() + point * products_point_ + first * kNR;
        tile_function(m, kVectors)(tile);
      });
    }
  }

  void transform_outputs(const Output& output, int64_t tile, int64_t t, int64_t columns) const {
    const Position at = locate(tile);
    const float* from = products() + t * kNR;
    for (int64_t n = 0; n < kNR && n < columns; n += kLanes)
      transform_square<6, 4>(
          transform_output,
          [&](int i, int j) { return load(from + (i * 6 + j) * products_point_ + n); },
          [&](int i, int j, Vec y) {
            if (at.y + i >= conv_.out_h || at.x + j >= conv_.out_w) return;
            const int64_t row = (at.image * conv_.out_h + at.y + i) * conv_.out_w;
            finish_vector(output, (row + at.x + j) * conv_.out_c, n, columns - n, y);
          });
  }

  const Conv& conv_;
  const Plan& plan_;
  const Operands& operands_;
  Scratch& scratch_;
  const int64_t channel_, end_;                                  // of the panel
  const int64_t inputs_point_, products_point_, weights_point_;  // floats from point to point
};

}  // namespace
}  // namespace resfuse
