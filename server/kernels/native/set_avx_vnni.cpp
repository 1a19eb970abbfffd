#include "sets.h"
#include "simd_avx_vnni.h"
#include "instruction_set.h"

namespace corral {
constexpr InstructionSet set_avx_vnni = with_halves<AvxVnni>(instruction_set<AvxVnni>("avx-vnni"));
}
