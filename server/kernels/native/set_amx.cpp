#include "sets.h"
#include "simd_amx.h"
#include "matrix_kernels.h"

namespace corral {
constexpr InstructionSet set_amx = untimed(matrix_set<Amx>("amx-int8"));
}
