// GELU through ggml's own CPU backend: for the check at start, for tests and for timing.
#include "gelu/gelu_graph.h"
#include "gelu/gelu.h"
#include "graph.h"

using namespace corral;

extern "C" bool corral_has_gelu() { return gelu_kernels() != nullptr; }
extern "C" void corral_use_gelu(bool is_used) { is_gelu_left_to_ggml = !is_used; }

extern "C" double corral_gelu(int64_t n, int64_t rows, const float * x, const float * gate, bool is_halved, bool is_swapped, float * out, int n_threads,
                              int n_repeats) {
    Graph run(4);
    ggml_tensor * input = ggml_new_tensor_2d(run.context, GGML_TYPE_F32, is_halved ? 2 * n : n, rows);
    ggml_tensor * other = gate == nullptr ? nullptr : ggml_new_tensor_2d(run.context, GGML_TYPE_F32, n, rows);
    ggml_tensor * result = is_halved && is_swapped ? ggml_geglu_swapped(run.context, input)
                         : is_halved              ? ggml_geglu(run.context, input)
                         : other != nullptr       ? ggml_geglu_split(run.context, input, other)
                                                  : ggml_gelu(run.context, input);
    ggml_build_forward_expand(run.graph, result);
    run.fill(input, x);
    if (other != nullptr) run.fill(other, gate);
    run.fill(result, nullptr);
    const double seconds = run.compute(n_threads, n_repeats);
    ggml_backend_tensor_get(result, out, 0, ggml_nbytes(result));
    return seconds;
}
