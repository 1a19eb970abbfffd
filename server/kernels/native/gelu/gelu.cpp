// GELU as an operation of ggml's graph: alone, or of one half of what a layer gives, times the other half.
//
// ggml looks each value up in a table of halves; a row of one token it leaves to one thread.
#include "gelu/gelu.h"
#include "ggml-backend.h"
#include "ggml-cpu-impl.h"
#include "ggml-cpu.h"
#include "plugin.h"
#include "sets/sets.h"
#include <algorithm>

namespace corral {

bool is_gelu_left_to_ggml = true;

const GeluKernels * gelu_kernels() {
#if defined(__x86_64__)
    const auto * set = chosen_set();
    if (set != nullptr && (set == &set_avx512 || set == &set_amx) && &gelu_avx512 != nullptr) return &gelu_avx512;
    static const bool is_present = has_avx2();
    if (is_present && &gelu_avx2 != nullptr) return &gelu_avx2;
#elif defined(__aarch64__)
    if (chosen_set() != nullptr && &gelu_neon != nullptr) return &gelu_neon;
#endif
    return nullptr;
}

namespace {

constexpr int64_t kPiece = 512;  // values of a row that one thread takes at a time

bool is_rows_of_floats(const ggml_tensor * t) { return t->type == GGML_TYPE_F32 && t->nb[0] == sizeof(float); }

float * row_of(const ggml_tensor * t, int64_t row) {
    const int64_t i1 = row % t->ne[1], i2 = row / t->ne[1] % t->ne[2], i3 = row / (t->ne[1] * t->ne[2]);
    return (float *) ((char *) t->data + i1 * int64_t(t->nb[1]) + i2 * int64_t(t->nb[2]) + i3 * int64_t(t->nb[3]));
}

}  // namespace

bool takes_gelu(const ggml_tensor * op) {
    const bool is_alone = op->op == GGML_OP_UNARY && ggml_get_unary_op(op) == GGML_UNARY_OP_GELU;
    const bool is_gated = op->op == GGML_OP_GLU && ggml_get_glu_op(op) == GGML_GLU_OP_GEGLU;
    if (is_gelu_left_to_ggml || !(is_alone || is_gated) || gelu_kernels() == nullptr) return false;
    return is_rows_of_floats(op) && is_rows_of_floats(op->src[0]) && (!is_gated || op->src[1] == nullptr || is_rows_of_floats(op->src[1]));
}

void compute_gelu(const ggml_compute_params & params, ggml_tensor * op) {
    const auto & kernels = *gelu_kernels();
    const bool is_gated = op->op == GGML_OP_GLU, is_halved = is_gated && op->src[1] == nullptr;
    const bool is_swapped = is_gated && ggml_get_op_params_i32(op, 1) != 0;  // the gate comes first, if both are in a row
    const int64_t n = op->ne[0], pieces = (n + kPiece - 1) / kPiece, jobs = pieces * ggml_nrows(op);
    for (int64_t job = jobs * params.ith / params.nth; job < jobs * (params.ith + 1) / params.nth; job++) {
        const int64_t row = job / pieces, first = job % pieces * kPiece;
        const float * x = row_of(op->src[0], row), * gate = nullptr;
        if (is_halved) {
            gate = x + (is_swapped ? 0 : n);
            x += is_swapped ? n : 0;
        } else if (is_gated) {
            gate = row_of(op->src[1], row);
        }
        kernels.multiply(x + first, gate == nullptr ? nullptr : gate + first, row_of(op, row) + first, std::min(kPiece, n - first));
    }
}

}  // namespace corral
