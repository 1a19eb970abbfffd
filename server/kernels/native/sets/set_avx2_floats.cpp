#include "attention/attention_kernels.h"
#include "gelu/gelu_kernels.h"
#include "sets/floats_avx2.h"

namespace corral {
const AttentionKernels attention_avx2 = attention_with<Avx2Floats>("avx2");
const GeluKernels gelu_avx2 = gelu_with<Avx2Floats>("avx2");
}
