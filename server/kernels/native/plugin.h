// The library's C interface, which server.kernels calls, and what its translation units share.
#pragma once
#include "ggml-backend.h"
#include "panels.h"
#include <atomic>
#include <cstdint>

namespace corral {
enum Place { kPanels, kPlain, kOwn };  // in our panels, as ggml's blocks, in the first of ggml's own extra buffer types
ggml_backend_buffer_type_t buffer_type();
const InstructionSet * find_set(const char * name);  // null: the best that is present and timed
void choose(const InstructionSet * set);
const InstructionSet * chosen_set();  // null before the choice
extern bool is_left_to_ggml[kFormats];
extern std::atomic<int64_t> n_matrices;  // written as panels so far
}  // namespace corral

extern "C" {
// Chooses an instruction set by name, or the best one for null or ""; returns its name, or null if it isn't there.
const char * corral_choose(const char * name);
// Puts the buffer type before ggml's own. Takes effect for models that are loaded afterwards, if none was before.
void corral_insert();
// Multiplies a matrix of ggml's blocks with n columns through ggml's CPU backend, its weights lying at a `Place`.
// Computes `n_copies` products of copies of the matrix once, then `n_repeats` times. Returns the processor seconds of
// one product; -1 if the place doesn't take the matrix.
double corral_multiply(int place, int type, int64_t k, int64_t rows, int64_t n, const void * weights, const float * x,
                       float * out, int n_threads, int n_copies, int n_repeats);
// The same for a mixture: `ids` names the experts of each of n tokens, [n][n_used]; x is [n][n_inputs][k], where
// n_inputs is 1 or n_used; out is [n][n_used][rows].
double corral_multiply_experts(int place, int type, int64_t k, int64_t rows, int64_t n_experts, int64_t n_used, int64_t n,
                               int64_t n_inputs, const void * weights, const float * x, const int32_t * ids, float * out,
                               int n_threads, int n_repeats);
}
