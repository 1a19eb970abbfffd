#include "sets/sets.h"
#include "sets/simd_avx_vnni.h"
#include "sets/instruction_set.h"
#include "products/float_kernels.h"

namespace corral {
constexpr InstructionSet set_avx_vnni = with_floats<AvxVnni>(instruction_set<AvxVnni>("avx-vnni"));
}
