#include "base/machine.h"

#include <algorithm>
#include <atomic>

#if defined(__linux__)
#include <cstdio>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace resfuse {
namespace {

// Bytes of the data cache of a level, or 0 where the system does not tell.
#if defined(__linux__)
// Not sysconf: it knows no sizes on AArch64, and under a hypervisor it may multiply that of L3.
int64_t read_cache(int wanted) {
  for (int index = 0; index < 8; ++index) {
    const auto read = [index](const char* name, const char* format, auto* value) {
      char path[96];
      std::snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index,
                    name);
      std::FILE* const file = std::fopen(path, "r");
      const bool found = file && std::fscanf(file, format, value) == 1;
      if (file) std::fclose(file);
      return found;
    };
    int level = 0;
    char type[16] = "";
    long long kibibytes = 0;  // NOLINT(google-runtime-int): what %lld reads
    if (!read("level", "%d", &level)) return 0;
    if (level != wanted || !read("type", "%15s", &type) || type[0] == 'I') continue;
    if (read("size", "%lldK", &kibibytes)) return int64_t{kibibytes} << 10;
  }
  return 0;
}
#elif defined(__APPLE__)
// The performance cores' own where there are two kinds.
int64_t read_cache(int level) {
  constexpr const char* kNames[3][2] = {{"hw.perflevel0.l1dcachesize", "hw.l1dcachesize"},
                                        {"hw.perflevel0.l2cachesize", "hw.l2cachesize"},
                                        {"hw.perflevel0.l3cachesize", "hw.l3cachesize"}};
  for (const char* name : kNames[level - 1]) {
    int64_t bytes = 0;
    size_t size = sizeof bytes;
    if (sysctlbyname(name, &bytes, &size, nullptr, 0) == 0 && bytes > 0) return bytes;
  }
  return 0;
}
#else
int64_t read_cache(int) { return 0; }
#endif

int64_t cache_or(int level, int64_t fallback) {
  const int64_t bytes = read_cache(level);
  return bytes > 0 ? bytes : fallback;
}

std::atomic<const Machine*>& chosen() {
  static const Machine here{cache_or(1, kReferenceMachine.l1d), cache_or(2, kReferenceMachine.l2),
                            cache_or(3, kReferenceMachine.l3)};
  static std::atomic<const Machine*> machine{&here};
  return machine;
}

}  // namespace

const Machine& machine_in_use() { return *chosen().load(); }

// Those before are not freed: another thread may still read them.
void use_machine(const Machine& machine) { chosen().store(new Machine(machine)); }

int64_t share_of_l2(const Machine& machine, int64_t floats) {
  constexpr int64_t kSmallest = int64_t{256} << 10, kLargest = int64_t{2} << 20;
  return std::clamp(machine.l2, kSmallest, kLargest) * floats / kReferenceMachine.l2;
}

}  // namespace resfuse
