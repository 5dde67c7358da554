// The register tile of a panel that is not of two whole vectors. A vector of which half is beyond
// the last output channel would compute zeros there, and one vector by itself takes a load for each
// multiply-add. Instead two k at a time share their vectors, a pair of lanes for each channel:
//
//   for each pair of k                                    weights: 1, 2 or 3 vectors
//     sums[m][:] += (in[m][k], in[m][k + 1], in[m][k], ...)               one load for them all
//                   * (panel[k][0], panel[k + 1][0], panel[k][1], ...)
//
// and at the end the two lanes of each channel are added up. Of 24 channels that is 0.75 of the
// multiply-adds, of 8 half of them, and of 16 half of the loads (csrc/README.md has the times).

#pragma once

#include "conv/tile.h"

namespace resfuse {
namespace {

#if defined(__AVX512F__)

constexpr bool kHasPairs = true;

// A panel of so many half vectors.
template <int kHalves>
struct Paired : Matrix {
  static constexpr int N = (kHalves + 1) / 2;
  // Two or three sums a row take as long with 8 rows as with those that fill the registers, 12 and
  // 9; one alone has more rows to a load of weights.
  static constexpr int kHighest = kHalves == 1 ? kMR : 8;

  template <int M>
  static void accumulate(const Tile& tile, Vec (&acc)[M][N]) {
    const int64_t stride = tile.row_stride;
    const float* in[(M + 2) / 3];  // as in Matrix
#pragma GCC unroll 4
    for (int m = 0; m < M; m += 3) in[m / 3] = tile.rows[0] + tile.offset + m * stride;
    const float* panel = tile.panel;
    Ahead ahead = tile.ahead;
    __m512 sums[M][kHalves] = {};
    for (int64_t k = 0; k < tile.length; k += 2, panel += 2 * kNR) {
      ahead.bring<M>(), ahead.bring<M>();
      __m512 w[kHalves];
      load_weights(panel, w);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        const __m512 x = splat_pair(in[m / 3] + m % 3 * stride);
#pragma GCC unroll 3
        for (int h = 0; h < kHalves; ++h) sums[m][h] = _mm512_fmadd_ps(x, w[h], sums[m][h]);
      }
#pragma GCC unroll 4
      for (int i = 0; i < (M + 2) / 3; ++i) in[i] = in_register(in[i] + 2);
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) add_pairs(sums[m], acc[m]);
  }

 private:
  static __m512 splat_pair(const float* from) {
    double pair;
    __builtin_memcpy(&pair, from, sizeof(pair));
    return _mm512_castpd_ps(_mm512_set1_pd(pair));
  }

  // Pairs of two ks. Of four channels that lie in a quarter of a vector, the first two are in that
  // quarter of one vector and the others in that of the next; or of the half behind.
  static void load_weights(const float* panel, __m512 (&w)[kHalves]) {
    if constexpr (kHalves > 1) {
      const __m512 a = _mm512_loadu_ps(panel), b = _mm512_loadu_ps(panel + kNR);
      w[0] = _mm512_unpacklo_ps(a, b), w[1] = _mm512_unpackhi_ps(a, b);
    }
    if constexpr (kHalves % 2 == 1) {
      const float* const last = panel + (N - 1) * kLanes;
      const __m256 a = _mm256_loadu_ps(last), b = _mm256_loadu_ps(last + kNR);
      const __m512 low = _mm512_castps256_ps512(_mm256_unpacklo_ps(a, b));
      w[kHalves - 1] = _mm512_insertf32x8(low, _mm256_unpackhi_ps(a, b), 1);
    }
  }

  static void add_pairs(const __m512 (&sums)[kHalves], Vec (&acc)[N]) {
    const auto add = [](__m512 low, __m512 high) {
      return (Vec)_mm512_add_ps(_mm512_shuffle_ps(low, high, 0x88),
                                _mm512_shuffle_ps(low, high, 0xdd));
    };
    if constexpr (kHalves > 1) acc[0] = add(sums[0], sums[1]);
    if constexpr (kHalves % 2 == 1) {
      const __m512 last = sums[kHalves - 1];
      const Lanes behind{8, 9, 10, 11, 12, 13, 14, 15};
      acc[N - 1] = add(last, (__m512)shuffle((Vec)last, behind));
    }
  }
};

template <int kHalves>
inline Tiles paired_tiles() {
  using Kind = Paired<kHalves>;
  return tiles_up_to<Kind, Kind::N>(std::make_integer_sequence<int, Kind::kHighest>{});
}

#else

constexpr bool kHasPairs = false;
template <int kHalves>
Tiles paired_tiles();

#endif

// The tiles of a panel whose windows are a run of so many inputs each.
inline Tiles tiles_of_one_run(const Panel& panel, int64_t length) {
  if constexpr (kHasPairs) {
    const int64_t halves = length % 2 == 0 ? ceil_div(panel.columns, kLanes / 2) : 0;
    if (halves == 1) return paired_tiles<1>();
    if (halves == 2) return paired_tiles<2>();
    if (halves == 3) return paired_tiles<3>();
  }
  return tiles_of<Matrix>(vectors_of(panel));
}

}  // namespace
}  // namespace resfuse
