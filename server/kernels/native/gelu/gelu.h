// GELU in its form with a hyperbolic tangent, alone or with a gate: the kernels' table, and the operation of ggml's graph.
//
// A value's result depends on nothing beside it: neither on its place in a row nor on how many threads there are.
#pragma once
#include <cstdint>

struct ggml_compute_params;
struct ggml_tensor;

namespace corral {

struct GeluKernels {
    const char * name;
    // Writes gelu(x[i]) * gate[i], or gelu(x[i]) where gate is null. `out` may be `x` or `gate`.
    void (*multiply)(const float * x, const float * gate, float * out, int64_t n);
};

// Null where the compiler lacks their flags.
#if defined(__x86_64__)
extern const __attribute__((weak)) GeluKernels gelu_avx2, gelu_avx512;
#elif defined(__aarch64__)
extern const __attribute__((weak)) GeluKernels gelu_neon;
#endif

// The kernels that go with the chosen instruction set, or null.
const GeluKernels * gelu_kernels();

// Whether ggml's own is to be used, as it is at first. Not to be changed while a graph is computed.
extern bool is_gelu_left_to_ggml;

bool takes_gelu(const ggml_tensor * op);
// Computes an operation that is taken; called by all threads at once.
void compute_gelu(const ggml_compute_params & params, ggml_tensor * op);

}  // namespace corral
