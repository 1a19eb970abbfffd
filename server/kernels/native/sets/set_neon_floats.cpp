#include "attention/attention_kernels.h"
#include "gelu/gelu_kernels.h"
#include "sets/floats_neon.h"

namespace corral {
const AttentionKernels attention_neon = attention_with<NeonFloats>("neon");
const GeluKernels gelu_neon = gelu_with<NeonFloats>("neon");
}
