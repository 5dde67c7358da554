// A vector of floats on the compiler's vector extensions. Arithmetic is the built-in operators;
// a * b + c contracts to a fused multiply-add where the ISA has one (-ffp-contract=fast).
//
// Everything here, and what is built on it, has internal linkage: each isa_*.cc compiles its own
// copy with its own flags, and the linker must not merge, say, the AVX-512 copy into the generic
// one.

#pragma once

#include <cstdint>

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
  for (int lane = 0; lane < kLanes; ++lane) any |= others[lane];
  return any == 0;
}

// The first `count` lanes, where an array ends; the others read as zero and are left unwritten.
inline Vec load_some(const float* from, int64_t count) {
  if (count >= kLanes) return load(from);
  Vec value = {};
  for (int64_t lane = 0; lane < count; ++lane) value[lane] = from[lane];
  return value;
}
inline void store_some(float* to, Vec value, int64_t count) {
  if (count >= kLanes) return store(to, value);
  for (int64_t lane = 0; lane < count; ++lane) to[lane] = value[lane];
}

}  // namespace
}  // namespace resfuse
