// The part of the C interface that is about attention.
#pragma once
#include <cstdint>

extern "C" {
// An attention to try. Keys and values are rows of ggml's blocks, [streams][keys][kv heads][dk or dv]; q is
// [streams][tokens][heads][dk]; the mask, if there is one, halves [streams][tokens][keys]; sinks, if there are, [heads].
struct corral_attention {
    int k_type, v_type;
    int64_t dk, dv, n_heads, n_kv_heads, n_tokens, n_keys, n_streams;
    const float * q;
    const void * k, * v;
    const uint16_t * mask;
    const float * sinks;
    float scale, max_bias, softcap;
};
// Computes it once, then `n_repeats` times, through ggml's CPU backend; the result is [streams][tokens][heads][dv].
// Returns the processor seconds of one time; -1 if it failed.
double corral_attend(const corral_attention * attention, float * out, int n_threads, int n_repeats);
// Whether this processor has kernels for attention.
bool corral_has_attention();
// Leaves attention to ggml, or takes it again. Not while a graph is computed.
void corral_use_attention(bool is_used);
}
