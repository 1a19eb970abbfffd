// The formats that have panels: what ggml calls them, their sizes, and the way into a panel and back.
#pragma once
#include "ggml.h"
#include "panels.h"

namespace corral {

struct FormatInfo {
    ggml_type type;
    TileShape shape;
    int block;           // weights of a row in one of ggml's blocks
    size_t panel_block;  // bytes of one block of a panel
    bool d_behind;       // the blocks' scales lie behind all panels, kRows halves for each block
    // Writes panels [first, last) of a matrix of `rows` rows and k columns. Rows beyond the last are zeros.
    void (*repack)(char * to, const char * from, int64_t k, int64_t rows, int64_t first, int64_t last);
    // Writes the rows of a repacked matrix as ggml's blocks again.
    void (*unpack)(char * to, const char * from, int64_t k, int64_t rows);
};

// By Format.
extern const FormatInfo formats[kFormats];

// The format of a type, or null.
const FormatInfo * format_of(ggml_type type);

// The shape of the set's tiles for a format.
inline TileShape shape_for(const InstructionSet & set, const FormatInfo & f) {
    TileShape shape = f.shape;
    shape.has_signs = set.has_signs[&f - formats];
    return shape;
}
// The columns of the set's widest tile for a format.
inline int widest_tile(const InstructionSet & set, const FormatInfo & f) {
    int columns = set.columns;
    while (set.kernels[&f - formats][columns] == nullptr) columns--;
    return columns;
}

inline int64_t panels_of(int64_t rows) { return (rows + kRows - 1) / kRows; }
inline size_t matrix_bytes(const FormatInfo & f, int64_t k, int64_t rows) {
    return size_t(panels_of(rows) * (k / f.block)) * (f.panel_block + (f.d_behind ? 2 * kRows : 0));
}
// The scales behind the panels of a repacked matrix.
inline size_t scales_at(const FormatInfo & f, int64_t k, int64_t rows) { return size_t(panels_of(rows) * (k / f.block)) * f.panel_block; }

}  // namespace corral
