#include "sets.h"
#include "panel_kernels.h"
#include "simd_avx2.h"

namespace corral {
const InstructionSet set_avx2 = instruction_set<Avx2>("avx2");
}
