#include "sets.h"
#include "simd_neon.h"
#include "instruction_set.h"

namespace corral {
constexpr InstructionSet set_neon_dotprod = untimed(instruction_set<Neon>("neon-dotprod"));
}
