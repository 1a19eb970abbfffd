#include "attention/attention_kernels.h"
#include "gelu/gelu_kernels.h"
#include "sets/floats_avx512.h"

namespace corral {
const AttentionKernels attention_avx512 = attention_with<Avx512Floats>("avx512");
const GeluKernels gelu_avx512 = gelu_with<Avx512Floats>("avx512");
}
