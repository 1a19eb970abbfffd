#include "attention/attention_kernels.h"
#include "sets/floats_avx512.h"

namespace corral {
const AttentionKernels attention_avx512 = attention_with<Avx512Floats>("avx512");
}
