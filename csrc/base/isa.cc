#include "base/isa.h"

#include <atomic>
#include <chrono>
#include <cstring>

namespace resfuse {
namespace {

#if defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#else
bool has_avx512() { return false; }
bool has_avx2() { return false; }
#endif

const Isa* best_isa() {
  const Isa* isas[kMaxIsas];
  usable_isas(isas);
  return isas[0];
}

std::atomic<const Isa*>& chosen() {
  static std::atomic<const Isa*> isa{best_isa()};
  return isa;
}

}  // namespace

int usable_isas(const Isa* (&isas)[kMaxIsas]) {
  int count = 0;
  if (kAvx512 && has_avx512()) isas[count++] = kAvx512;
  if (kAvx2 && has_avx2()) isas[count++] = kAvx2;
  isas[count++] = kGeneric;
  return count;
}

const Isa& isa_in_use() { return *chosen().load(); }

bool use_isa(const char* name) {
  const Isa* isas[kMaxIsas];
  const int count = usable_isas(isas);
  for (int i = 0; i < count; ++i) {
    if (std::strcmp(isas[i]->name, name) != 0) continue;
    chosen().store(isas[i]);
    return true;
  }
  return false;
}

double measure_peak(double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto elapsed = [](Clock::time_point since) {
    return std::chrono::duration<double>(Clock::now() - since).count();
  };
  const Isa& isa = isa_in_use();
  double best = 0.0;
  for (const auto start = Clock::now(); best == 0.0 || elapsed(start) < seconds;) {
    const auto trial = Clock::now();
    const double flops = isa.multiply_add(1 << 14);
    const double rate = flops / elapsed(trial) * 1e-9;
    if (rate > best) best = rate;
  }
  return best;
}

}  // namespace resfuse
