// Prints the names of the instruction sets that the processor has, best first. Has no kernels: any processor runs it.
#include "sets/sets.h"
#include <cstdio>

namespace corral {
#if defined(__x86_64__)
constexpr InstructionSet set_avx2 = { "avx2", 1, nullptr, {} }, set_avx_vnni = { "avx-vnni", 1, nullptr, {} };
constexpr InstructionSet set_avx512 = { "avx512-vnni", 1, nullptr, {} }, set_amx = { "amx-int8", 1, nullptr, {} };
#elif defined(__aarch64__)
constexpr InstructionSet set_neon_dotprod = { "neon-dotprod", 1, nullptr, {} };
#ifndef WITHOUT_neon_i8mm
constexpr InstructionSet set_neon_i8mm = { "neon-i8mm", 1, nullptr, {} };
#endif
#endif
}  // namespace corral

int main() {
    for (const auto * c = corral::candidates(); c->set != nullptr; c++)
        if (c->is_present()) puts(c->set->name);
}
