// The part of the C interface that says what the library is and which of it is used.
#pragma once
#include <cstddef>
#include <cstdint>

extern "C" {
// A size, an offset or a number that the library was compiled with.
struct corral_layout {
    const char * name;
    size_t value;
};

const char * corral_bindings_version();  // of llama-cpp-python
const char * corral_ggml_version();
const corral_layout * corral_layouts();  // ended by a null name

// The name of the instruction set at `index`, best first; null beyond the last.
const char * corral_set_name(int index);
// ggml's type of the format at `index`; -1 beyond the last.
int corral_format_type(int index);
// Whether the chosen set has kernels for a type.
bool corral_has_kernels(int type);
// Leaves the weights of a type to ggml, or takes them again: those that are loaded afterwards.
void corral_use(int type, bool is_used);
// Writes ggml's blocks as panels and back into `to`. False for a type that has no panels.
bool corral_round_trip(int type, int64_t k, int64_t rows, const void * from, void * to);
// The number of matrices that were written as panels since the library was loaded.
int64_t corral_matrices();
}
