#include "sets.h"
#include "simd_avx2.h"
#include "instruction_set.h"

namespace corral {
constexpr InstructionSet set_avx2 = with_halves<Avx2>(instruction_set<Avx2>("avx2"));
}
