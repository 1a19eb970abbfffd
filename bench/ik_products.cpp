// Products of ik_llama.cpp's ggml, timed for bench.kernels. Compiled against that project's headers and libraries.
//
// Each line of standard input asks for one: TYPE K ROWS COLUMNS COPIES REPEATS IS_REPACKED WEIGHTS INPUTS, the last two
// being files. The answer is a line with the processor seconds of one product on one thread, or -1 where the weights
// can't be repacked.
#include "ggml.h"
#include "iqk/iqk_quantize.h"
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

namespace {

double processor_seconds() {
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

void read(const char * path, void * to, size_t n_bytes) {
    FILE * file = std::fopen(path, "rb");
    if (file == nullptr || std::fread(to, 1, n_bytes, file) != n_bytes) {
        std::fprintf(stderr, "%s can't be read\n", path);
        std::exit(1);
    }
    std::fclose(file);
}

struct Question {
    int type, copies, repeats, is_repacked;
    long k, rows, columns;
    char weights[4096], inputs[4096];
};

double seconds(const Question & q) {
    const auto type = ggml_type(q.type);
    const size_t n_bytes = ggml_row_size(type, q.k) * size_t(q.rows);
    const size_t n_floats = size_t(q.k) * q.columns + size_t(q.rows) * q.columns * q.copies;
    ggml_context * context = ggml_init({ n_bytes * q.copies + 4 * n_floats + (size_t(16) << 20), nullptr, false });
    ggml_tensor * inputs = ggml_new_tensor_2d(context, GGML_TYPE_F32, q.k, q.columns);
    read(q.inputs, inputs->data, ggml_nbytes(inputs));
    ggml_cgraph * graph = ggml_new_graph_custom(context, size_t(2 * q.copies + 2), false);
    bool is_taken = true;
    for (int i = 0; i < q.copies; i++) {
        ggml_tensor * w = ggml_new_tensor_2d(context, type, q.k, q.rows);
        read(q.weights, w->data, n_bytes);
        if (q.is_repacked) iqk_repack_tensor(w);
        is_taken = is_taken && (!q.is_repacked || w->type != type);
        ggml_build_forward_expand(graph, ggml_mul_mat(context, w, inputs));
    }
    double spent = -1.0;
    if (is_taken) {
        ggml_cplan plan = ggml_graph_plan(graph, 1);
        std::vector<uint8_t> work(plan.work_size + 64);
        plan.work_data = work.data();
        ggml_graph_compute(graph, &plan);
        const double began = processor_seconds();
        for (int i = 0; i < q.repeats; i++) ggml_graph_compute(graph, &plan);
        spent = (processor_seconds() - began) / (double(q.repeats) * q.copies);
    }
    ggml_free(context);
    return spent;
}

}  // namespace

int main() {
    Question q;
    while (std::scanf("%d %ld %ld %ld %d %d %d %4095s %4095s", &q.type, &q.k, &q.rows, &q.columns, &q.copies, &q.repeats,
                      &q.is_repacked, q.weights, q.inputs) == 9) {
        std::printf("%.9g\n", seconds(q));
        std::fflush(stdout);
    }
}
