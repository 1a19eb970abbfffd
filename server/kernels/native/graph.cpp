// Products through ggml's own CPU backend: for the check at start, for tests and for timing.
#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml-cpu/traits.h"
#include "graph.h"
#include "plugin.h"
#include <vector>

namespace corral {
namespace {

bool takes(ggml_backend_buffer_type_t type, ggml_tensor * w, const ggml_tensor * product) {
    ggml_backend_buffer probe = {};
    probe.buft = type;
    w->buffer = &probe;
    const bool is_taken = ((ggml::cpu::extra_buffer_type *) type->context)->supports_op(type->device, product);
    w->buffer = nullptr;
    return is_taken;
}

// The buffer type for the weights, or null if none at this place takes the product.
ggml_backend_buffer_type_t home_of(int place, ggml_tensor * w, const ggml_tensor * product) {
    if (place == kPlain) return ggml_backend_cpu_buffer_type();
    if (place == kPanels) return takes(buffer_type(), w, product) ? buffer_type() : nullptr;
    for (auto * type : ggml_backend_cpu_get_extra_buffer_types())
        if (type != nullptr && type != buffer_type() && takes(type, w, product)) return type;
    return nullptr;
}

}  // namespace
}  // namespace corral

using namespace corral;

extern "C" double corral_multiply(int place, int type, int64_t k, int64_t rows, int64_t n, const void * weights,
                                  const float * x, float * out, int n_threads, int n_copies, int n_repeats) {
    Graph run(n_copies);
    ggml_tensor * input = ggml_new_tensor_2d(run.context, GGML_TYPE_F32, k, n);
    std::vector<ggml_tensor *> matrices, products;
    for (int i = 0; i < n_copies; i++) {
        matrices.push_back(ggml_new_tensor_2d(run.context, ggml_type(type), k, rows));
        products.push_back(ggml_mul_mat(run.context, matrices.back(), input));
        ggml_build_forward_expand(run.graph, products.back());
    }
    auto * home = home_of(place, matrices[0], products[0]);
    if (home == nullptr) return -1.0;
    run.fill(input, x);
    for (auto * w : matrices) run.fill(w, weights, home);
    for (auto * product : products) run.fill(product, nullptr);
    const double seconds = run.compute(n_threads, n_repeats) / n_copies;
    ggml_backend_tensor_get(products[0], out, 0, ggml_nbytes(products[0]));
    return seconds;
}

extern "C" double corral_multiply_experts(int place, int type, int64_t k, int64_t rows, int64_t n_experts, int64_t n_used,
                                          int64_t n, int64_t n_inputs, const void * weights, const float * x,
                                          const int32_t * ids, float * out, int n_threads, int n_repeats) {
    Graph run(1);
    ggml_tensor * input = ggml_new_tensor_3d(run.context, GGML_TYPE_F32, k, n_inputs, n);
    ggml_tensor * experts = ggml_new_tensor_2d(run.context, GGML_TYPE_I32, n_used, n);
    ggml_tensor * w = ggml_new_tensor_3d(run.context, ggml_type(type), k, rows, n_experts);
    ggml_tensor * product = ggml_mul_mat_id(run.context, w, input, experts);
    ggml_build_forward_expand(run.graph, product);
    auto * home = home_of(place, w, product);
    if (home == nullptr) return -1.0;
    run.fill(input, x);
    run.fill(experts, ids);
    run.fill(w, weights, home);
    run.fill(product, nullptr);
    const double seconds = run.compute(n_threads, n_repeats);
    ggml_backend_tensor_get(product, out, 0, ggml_nbytes(product));
    return seconds;
}
