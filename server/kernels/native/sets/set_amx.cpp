#include "sets/sets.h"
#include "sets/simd_amx.h"
#include "products/matrix_kernels.h"

namespace corral {
constexpr InstructionSet set_amx = untimed(matrix_set<Amx>("amx-int8"));
}
