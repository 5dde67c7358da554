#include "base/pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#endif

namespace resfuse {

#if defined(__linux__)
namespace {

constexpr size_t kHuge = size_t{2} << 20;
constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE of Linux 5.14; older ones refuse it

// Of a huge page, or as much in small ones: they take 0.1 to 0.3 ms, and 0.2 to 0.7.
constexpr double kSlowMs = 2;

// The thread's own, without the time in which others have its core.
double now_ms() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) * 1e-6;
}

}  // namespace

// The host of a virtual machine may have taken back what was free (free page reporting), and takes
// 5 ms to find 2 MiB again: 0.2 s for the packed weights of a ResNet-50. It takes back blocks of
// the size of huge pages and more, and leaves what lies scattered; or small pages are what has run
// out. So each time that one kind was slow, the other has its turn.
void find_pages(void* begin, size_t bytes) {
  static std::atomic<bool> huge{true};
  const auto first = reinterpret_cast<uintptr_t>(begin), end = first + bytes;
  for (uintptr_t page = (first + kHuge - 1) / kHuge * kHuge; page < end; page += kHuge) {
    auto* const at = reinterpret_cast<void*>(page);
    const size_t size = std::min(kHuge, end - page);
    const double start = now_ms();
    madvise(at, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    if (madvise(at, size, kPopulateWrite) != 0) return;
    if (now_ms() - start > kSlowMs) huge = !huge;
  }
}
#else
void find_pages(void*, size_t) {}
#endif

}  // namespace resfuse
