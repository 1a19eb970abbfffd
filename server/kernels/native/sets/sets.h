// The instruction sets that have kernels in this library; each is defined in a translation unit of its own.
//
// They are constants: nothing of such a unit runs on a processor that lacks its instructions. A unit whose flags the
// compiler doesn't know is left out of the library, and the address of its set is null.
#pragma once
#include "panels.h"

namespace corral {
#if defined(__x86_64__)
extern const __attribute__((weak)) InstructionSet set_avx2, set_avx_vnni, set_avx512, set_amx;
bool has_avx2();  // with FMA and F16C
#elif defined(__aarch64__)
extern const __attribute__((weak)) InstructionSet set_neon_dotprod, set_neon_i8mm;
#endif
}  // namespace corral
