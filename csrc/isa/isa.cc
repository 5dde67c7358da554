#include "isa/isa.h"

#include <atomic>
#include <chrono>
#include <cstring>

namespace resfuse {
namespace {

#define RESFUSE_ISA(name) isa_##name,
constexpr const Isa* (*kIsas[])() = {
#include "isa/isas.inc"
};
#undef RESFUSE_ISA

std::atomic<const Isa*>& chosen() {
  static std::atomic<const Isa*> isa{usable_isas().front()};
  return isa;
}

}  // namespace

std::vector<const Isa*> usable_isas() {
  std::vector<const Isa*> usable;
  for (const auto isa : kIsas)
    if (isa()) usable.push_back(isa());
  return usable;
}

const Isa& isa_in_use() { return *chosen().load(); }

bool use_isa(const char* name) {
  for (const Isa* isa : usable_isas()) {
    if (std::strcmp(isa->name, name) != 0) continue;
    chosen().store(isa);
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
