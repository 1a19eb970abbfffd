// Attention through ggml's own CPU backend: for the check at start, for tests and for timing.
#include "attention/attention.h"
#include "attention/attention_graph.h"
#include "graph.h"

using namespace corral;

extern "C" bool corral_has_attention() { return attention_kernels(64, 64) != nullptr; }
extern "C" void corral_use_attention(bool is_used) { is_attention_left_to_ggml = !is_used; }

extern "C" double corral_attend(const corral_attention * a, float * out, int n_threads, int n_repeats) {
    Graph run(8);
    auto * c = run.context;
    // A cell of the cache has the rows of all its heads, one after another.
    ggml_tensor * q = ggml_new_tensor_4d(c, GGML_TYPE_F32, a->dk, a->n_heads, a->n_tokens, a->n_streams);
    ggml_tensor * k = ggml_new_tensor_4d(c, ggml_type(a->k_type), a->dk, a->n_kv_heads, a->n_keys, a->n_streams);
    ggml_tensor * v = ggml_new_tensor_4d(c, ggml_type(a->v_type), a->dv, a->n_kv_heads, a->n_keys, a->n_streams);
    ggml_tensor * mask = a->mask == nullptr ? nullptr : ggml_new_tensor_4d(c, GGML_TYPE_F16, a->n_keys, a->n_tokens, 1, a->n_streams);
    ggml_tensor * sinks = a->sinks == nullptr ? nullptr : ggml_new_tensor_1d(c, GGML_TYPE_F32, a->n_heads);
    ggml_tensor * view[3] = { ggml_permute(c, q, 0, 2, 1, 3), ggml_permute(c, k, 0, 2, 1, 3), ggml_permute(c, v, 0, 2, 1, 3) };
    ggml_tensor * result = ggml_flash_attn_ext(c, view[0], view[1], view[2], mask, a->scale, a->max_bias, a->softcap);
    ggml_flash_attn_ext_add_sinks(result, sinks);
    ggml_build_forward_expand(run.graph, result);
    run.fill(q, a->q);
    run.fill(k, a->k);
    run.fill(v, a->v);
    if (mask != nullptr) run.fill(mask, a->mask);
    if (sinks != nullptr) run.fill(sinks, a->sinks);
    for (auto * one : view) ggml_backend_view_init(one);
    run.fill(result, nullptr);
    const double seconds = run.compute(n_threads, n_repeats);
    ggml_backend_tensor_get(result, out, 0, ggml_nbytes(result));
    return seconds;
}
