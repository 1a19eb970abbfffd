// The part of the C interface that is about GELU.
#pragma once
#include <cstdint>

extern "C" {
// Computes GELU of [rows][n], times the gate of that shape if there is one, once and then `n_repeats` times through ggml's
// CPU backend. `is_halved`: x and gate are halves of rows, in this order, or swapped. Returns the processor seconds of one
// time; -1 if it failed.
double corral_gelu(int64_t n, int64_t rows, const float * x, const float * gate, bool is_halved, bool is_swapped, float * out, int n_threads, int n_repeats);
// Whether this processor has kernels for GELU.
bool corral_has_gelu();
// Leaves GELU to ggml, or takes it again. Not while a graph is computed.
void corral_use_gelu(bool is_used);
}
