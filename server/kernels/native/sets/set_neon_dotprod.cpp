#include "sets/sets.h"
#include "sets/simd_neon.h"
#include "sets/instruction_set.h"

namespace corral {
constexpr InstructionSet set_neon_dotprod = untimed(instruction_set<Neon>("neon-dotprod"));
}
