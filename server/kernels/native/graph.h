// A graph for ggml's own CPU backend, in which a kernel is checked, tested and timed.
#pragma once
#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include <ctime>
#include <vector>

namespace corral {

inline double cpu_seconds() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// A graph whose tensors get buffers of their own.
class Graph {
  public:
    explicit Graph(int n_operations)
        : context(ggml_init({ ggml_tensor_overhead() * size_t(2 * n_operations + 16) + ggml_graph_overhead(), nullptr, true })),
          graph(ggml_new_graph(context)) {}
    ~Graph() {
        for (auto * buffer : buffers) ggml_backend_buffer_free(buffer);
        ggml_free(context);
    }
    Graph(const Graph &) = delete;
    Graph & operator=(const Graph &) = delete;

    void fill(ggml_tensor * t, const void * data, ggml_backend_buffer_type_t home = ggml_backend_cpu_buffer_type()) {
        auto * buffer = ggml_backend_buft_alloc_buffer(home, ggml_backend_buft_get_alloc_size(home, t) + 64);
        buffers.push_back(buffer);
        ggml_backend_tensor_alloc(buffer, t, ggml_backend_buffer_get_base(buffer));
        if (data != nullptr) ggml_backend_tensor_set(t, data, 0, ggml_nbytes(t));
    }

    // Computes once, then `n_repeats` times. Returns the processor seconds of one time; -1 if it failed.
    double compute(int n_threads, int n_repeats) {
        ggml_backend_t backend = ggml_backend_cpu_init();
        ggml_backend_cpu_set_n_threads(backend, n_threads);
        bool is_done = ggml_backend_graph_compute(backend, graph) == GGML_STATUS_SUCCESS;
        const double begin = cpu_seconds();
        for (int i = 0; i < n_repeats && is_done; i++) is_done = ggml_backend_graph_compute(backend, graph) == GGML_STATUS_SUCCESS;
        const double seconds = (cpu_seconds() - begin) / (n_repeats > 0 ? n_repeats : 1);
        ggml_backend_free(backend);
        return is_done ? seconds : -1.0;
    }

    ggml_context * context;
    ggml_cgraph * graph;

  private:
    std::vector<ggml_backend_buffer_t> buffers;
};

}  // namespace corral
