#include "sets/sets.h"
#include "sets/simd_avx2.h"
#include "sets/instruction_set.h"
#include "products/float_kernels.h"
#include "products/many_kernels.h"
#include "products/iq4xs_kernels.h"

namespace corral {
constexpr InstructionSet set_avx2 = with_sizes<Avx2>(with_many<Avx2>(with_floats<Avx2>(instruction_set<Avx2>("avx2"))));
}
