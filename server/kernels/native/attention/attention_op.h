// Attention as an operation of ggml's graph.
#pragma once
#include "ggml-backend.h"
#include "ggml-cpu-impl.h"
#include "ggml-cpu.h"
#include <cstddef>

namespace corral {
bool takes_attention(const ggml_tensor * op);
size_t attention_work_size(int n_threads, const ggml_tensor * op);
// Computes an operation that is taken; called by all threads at once.
void compute_attention(const ggml_compute_params & params, ggml_tensor * op);
}  // namespace corral
