// What the library is and which of it is used; see interface.h.
#include "interface.h"
#include "formats.h"
#include "plugin.h"
#include <vector>

using namespace corral;

extern "C" const char * corral_set_name(int index) {
    const auto * c = candidates();
    for (int i = 0; i < index && c->set != nullptr; i++) c++;
    return c->set == nullptr ? nullptr : c->set->name;
}

extern "C" int corral_format_type(int index) { return index >= 0 && index < kFormats ? int(formats[index].type) : -1; }

extern "C" bool corral_has_kernels(int type) {
    const auto * f = format_of(ggml_type(type));
    return f != nullptr && chosen_set() != nullptr && chosen_set()->kernels[f - formats][1] != nullptr;
}

extern "C" void corral_use(int type, bool is_used) {
    const auto * f = format_of(ggml_type(type));
    if (f != nullptr) is_left_to_ggml[f - formats] = !is_used;
}

extern "C" bool corral_round_trip(int type, int64_t k, int64_t rows, const void * from, void * to) {
    const auto * f = format_of(ggml_type(type));
    if (f == nullptr || k % f->block != 0) return false;
    std::vector<char> panels(matrix_bytes(*f, k, rows));
    f->repack(panels.data(), (const char *) from, k, rows, 0, panels_of(rows));
    f->unpack((char *) to, panels.data(), k, rows);
    return true;
}

extern "C" int64_t corral_matrices() { return n_matrices.load(); }
