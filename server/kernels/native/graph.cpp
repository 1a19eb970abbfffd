// A matrix product through ggml's own CPU backend: for the check at start, for tests and for timing.
#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml-cpu/traits.h"
#include "plugin.h"
#include <ctime>
#include <vector>

namespace corral {
namespace {

double cpu_seconds() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// The buffer type that holds the weights: ours, plain memory, or the first of ggml's own that takes the product.
ggml_backend_buffer_type_t weights_type(int place, const ggml_tensor * w, const ggml_tensor * product) {
    if (place == 0) return buffer_type();
    if (place == 1) return ggml_backend_cpu_buffer_type();
    for (auto * type : ggml_backend_cpu_get_extra_buffer_types()) {
        if (type == nullptr || type == buffer_type()) continue;
        ggml_backend_buffer probe = {};
        probe.buft = type;
        const_cast<ggml_tensor *>(w)->buffer = &probe;
        const bool takes = ((ggml::cpu::extra_buffer_type *) type->context)->supports_op(type->device, product);
        const_cast<ggml_tensor *>(w)->buffer = nullptr;
        if (takes) return type;
    }
    return nullptr;
}

bool supports(ggml_backend_buffer_type_t type, ggml_tensor * w, const ggml_tensor * product) {
    if (type == ggml_backend_cpu_buffer_type()) return true;
    ggml_backend_buffer probe = {};
    probe.buft = type;
    w->buffer = &probe;
    const bool takes = ((ggml::cpu::extra_buffer_type *) type->context)->supports_op(type->device, product);
    w->buffer = nullptr;
    return takes;
}

}  // namespace
}  // namespace corral

using namespace corral;

extern "C" double corral_multiply(int place, int type, int64_t k, int64_t rows, int64_t n, const void * weights,
                                  const float * x, float * out, int n_threads, int n_copies, int n_repeats) {
    const size_t overhead = ggml_tensor_overhead() * size_t(2 * n_copies + 8) + ggml_graph_overhead();
    ggml_context * context = ggml_init({ overhead, nullptr, true });
    ggml_tensor * input = ggml_new_tensor_2d(context, GGML_TYPE_F32, k, n);
    std::vector<ggml_tensor *> matrices, products;
    ggml_cgraph * graph = ggml_new_graph(context);
    for (int i = 0; i < n_copies; i++) {
        matrices.push_back(ggml_new_tensor_2d(context, ggml_type(type), k, rows));
        products.push_back(ggml_mul_mat(context, matrices.back(), input));
        ggml_build_forward_expand(graph, products.back());
    }
    double seconds = -1.0;
    auto * home = weights_type(place, matrices[0], products[0]);
    if (home != nullptr && supports(home, matrices[0], products[0])) {
        std::vector<ggml_backend_buffer_t> buffers;
        auto place_in = [&](ggml_tensor * t, ggml_backend_buffer_type_t buft) {
            auto * buffer = ggml_backend_buft_alloc_buffer(buft, ggml_backend_buft_get_alloc_size(buft, t) + 64);
            ggml_backend_tensor_alloc(buffer, t, ggml_backend_buffer_get_base(buffer));
            buffers.push_back(buffer);
        };
        place_in(input, ggml_backend_cpu_buffer_type());
        for (auto * product : products) place_in(product, ggml_backend_cpu_buffer_type());
        for (auto * w : matrices) {
            place_in(w, home);
            ggml_backend_tensor_set(w, weights, 0, ggml_nbytes(w));
        }
        ggml_backend_tensor_set(input, x, 0, ggml_nbytes(input));
        ggml_backend_t backend = ggml_backend_cpu_init();
        ggml_backend_cpu_set_n_threads(backend, n_threads);
        bool is_done = ggml_backend_graph_compute(backend, graph) == GGML_STATUS_SUCCESS;
        const double begin = cpu_seconds();
        for (int i = 0; i < n_repeats && is_done; i++) is_done = ggml_backend_graph_compute(backend, graph) == GGML_STATUS_SUCCESS;
        if (is_done) seconds = (cpu_seconds() - begin) / (double(n_repeats > 0 ? n_repeats : 1) * n_copies);
        ggml_backend_tensor_get(products[0], out, 0, ggml_nbytes(products[0]));
        ggml_backend_free(backend);
        for (auto * buffer : buffers) ggml_backend_buffer_free(buffer);
    }
    ggml_free(context);
    return seconds;
}
