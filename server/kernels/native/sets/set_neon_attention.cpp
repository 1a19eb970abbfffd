#include "attention/attention_kernels.h"
#include "sets/floats_neon.h"

namespace corral {
const AttentionKernels attention_neon = attention_with<NeonFloats>("neon");
}
