// The instruction sets in the order of preference, and whether the processor has them.
#include "sets.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace corral {
namespace {
#if defined(__x86_64__)
// Not every compiler's __builtin_cpu_supports knows this name.
bool has_f16c() {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }
#endif
const Candidate all[] = {
#if defined(__x86_64__)
    { &set_avx2, has_avx2 },
#endif
    { nullptr, nullptr },
};
}  // namespace

const Candidate * candidates() { return all; }

}  // namespace corral
