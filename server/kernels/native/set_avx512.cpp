#include "sets.h"
#include "simd_avx512.h"
#include "instruction_set.h"

namespace corral {
constexpr InstructionSet set_avx512 = instruction_set<Avx512>("avx512-vnni");
}
