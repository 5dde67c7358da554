// A vector of floats on the compiler's vector extensions. Arithmetic is the built-in operators;
// a * b + c contracts to a fused multiply-add where the ISA has one (-ffp-contract=fast).
//
// Everything here, and what is built on it, has internal linkage: each isa_*.cc compiles its own
// copy with its own flags, and the linker must not merge, say, the AVX-512 copy into the generic
// one.

#pragma once

#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace resfuse {
namespace {

constexpr int kLanes = RESFUSE_LANES;
// AVX-512 and AArch64 have 32 vector registers, the others 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = 16;
#endif

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
// The same at any float's address: users' arrays are aligned to 16 bytes at best.
typedef float UnalignedVec __attribute__((vector_size(kLanes * sizeof(float)), aligned(4)));

// Stands for std::min, a template that the linker might take from another file.
inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

inline Vec load(const float* from) { return *reinterpret_cast<const UnalignedVec*>(from); }
inline void store(float* to, Vec value) { *reinterpret_cast<UnalignedVec*>(to) = value; }
inline Vec splat(float value) { return value - Vec{}; }

// The same value, which compilers take for a new one: loaded once for all that use it. They would
// rather repeat a load in each multiply-add, for want of registers.
inline Vec in_register(Vec value) {
#if defined(__x86_64__)
  asm("" : "+v"(value));
#elif defined(__aarch64__)
  asm("" : "+w"(value));
#endif
  return value;
}

// The same for a pointer, whose multiples compilers would rather keep.
template <typename T>
inline T* in_register(T* pointer) {
  asm("" : "+r"(pointer));
  return pointer;
}

// As many doubles as a vector has floats, at any double's address. No function takes or returns one
// by value: without wide registers that would depend on the compiler.
typedef double Doubles __attribute__((vector_size(kLanes * sizeof(double)), aligned(8)));

typedef int32_t Lanes __attribute__((vector_size(kLanes * sizeof(int32_t))));

// Returns value[lanes[0]], value[lanes[1]], ...
inline Vec shuffle(Vec value, Lanes lanes) {
#if defined(__clang__)
  Vec result;
  for (int lane = 0; lane < kLanes; ++lane) result[lane] = value[lanes[lane]];
  return result;
#else
  return __builtin_shuffle(value, lanes);
#endif
}

// Whether no lane is infinite or NaN: x - x is 0 for all other numbers.
inline bool all_finite(Vec value) {
  const Lanes others = value - value != 0.0f;
  int32_t any = 0;
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes; ++lane) any |= others[lane];
  return any == 0;
}

// The first `count` lanes, where an array ends; the others read as zero and are left unwritten.
#if defined(__AVX512F__)
inline __mmask16 first_lanes_mask(int64_t count) {
  return static_cast<__mmask16>(count <= 0 ? 0 : 0xffff >> (kLanes - count));
}
inline Vec load_part(const float* from, int64_t count) {
  return _mm512_maskz_loadu_ps(first_lanes_mask(count), from);
}
inline void store_part(float* to, Vec value, int64_t count) {
  _mm512_mask_storeu_ps(to, first_lanes_mask(count), value);
}
#elif defined(__AVX2__)
inline __m256i first_lanes_mask(int64_t count) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(count)), lanes);
}
inline Vec load_part(const float* from, int64_t count) {
  return _mm256_maskload_ps(from, first_lanes_mask(count));
}
inline void store_part(float* to, Vec value, int64_t count) {
  _mm256_maskstore_ps(to, first_lanes_mask(count), value);
}
#else
inline Vec load_part(const float* from, int64_t count) {
  Vec value = {};
  for (int64_t lane = 0; lane < count; ++lane) value[lane] = from[lane];
  return value;
}
inline void store_part(float* to, Vec value, int64_t count) {
  for (int64_t lane = 0; lane < count; ++lane) to[lane] = value[lane];
}
#endif

// Whether parts are loaded as fast as whole vectors, and stored nearly so.
#if defined(__AVX512F__)
constexpr bool kHasMasks = true;
#else
constexpr bool kHasMasks = false;
#endif

inline Vec load_some(const float* from, int64_t count) {
  return count >= kLanes ? load(from) : load_part(from, count);
}
inline void store_some(float* to, Vec value, int64_t count) {
  count >= kLanes ? store(to, value) : store_part(to, value, count);
}

}  // namespace
}  // namespace resfuse
