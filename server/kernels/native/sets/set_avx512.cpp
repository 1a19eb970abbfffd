#include "sets/sets.h"
#include "sets/simd_avx512.h"
#include "sets/instruction_set.h"

namespace corral {
constexpr InstructionSet set_avx512 = instruction_set<Avx512>("avx512-vnni");
}
