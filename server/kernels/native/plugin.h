// The library's C interface, which server.kernels calls, and what its translation units share.
#pragma once
#include "ggml-backend.h"
#include "panels.h"
#include <cstdint>

namespace corral {
ggml_backend_buffer_type_t buffer_type();
const InstructionSet * find_set(const char * name);  // null: the best that is present
void choose(const InstructionSet * set);
}  // namespace corral

extern "C" {
// Chooses an instruction set by name, or the best one for null or ""; returns its name, or null if it isn't there.
const char * corral_choose(const char * name);
// Puts the buffer type before ggml's own. Takes effect for models that are loaded afterwards, if none was before.
void corral_insert();
// Multiplies a matrix of ggml's blocks with n columns through ggml's CPU backend. `place` is where the weights lie:
// 0 in panels, 1 in plain memory, 2 in the first of ggml's own extra buffer types that takes them. Computes `n_copies`
// products of copies of the matrix, `n_repeats` times after a first. Returns the processor seconds of one product; -1 if
// the place doesn't take the matrix.
double corral_multiply(int place, int type, int64_t k, int64_t rows, int64_t n, const void * weights, const float * x,
                       float * out, int n_threads, int n_copies, int n_repeats);
}
