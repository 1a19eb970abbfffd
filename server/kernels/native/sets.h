// The instruction sets that have kernels in this library; each is defined in a translation unit of its own.
#pragma once
#include "panels.h"

namespace corral {
#if defined(__x86_64__)
extern const InstructionSet set_avx2;
#endif
}  // namespace corral
