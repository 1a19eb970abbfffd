// The instruction sets in the order of preference, and whether the processor has them.
#include "sets.h"

namespace corral {
namespace {
#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }
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
