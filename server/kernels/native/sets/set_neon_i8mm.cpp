#include "sets/sets.h"
#include "sets/simd_i8mm.h"
#include "products/matrix_kernels.h"

namespace corral {
constexpr InstructionSet set_neon_i8mm = untimed(matrix_set<I8mm>("neon-i8mm"));
}
