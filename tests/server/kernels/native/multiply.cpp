// Multiplies matrices from standard input with the kernels of one instruction set, CORRAL_SET.
//
// A case is five int32 (ggml's type, k, rows, n, the bytes of a block), the matrix in ggml's blocks and n columns of k floats. Its answer
// is the activations as the kernels see them (int8 [n][k], float [n][k / group]) and then, for the first nc = 1 .. n columns,
// cut into tiles as wide as the set's, the products [nc][rows]. Links no part of ggml: it runs where only an emulator does.
#include "formats.h"
#include "sets/sets.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace corral;

namespace {

template <class T> bool read(T * to, size_t count) { return fread(to, sizeof(T), count, stdin) == count; }
template <class T> void write(const T * from, size_t count) {
    if (fwrite(from, sizeof(T), count, stdout) != count) exit(3);
}

// The tile of the first nc columns.
std::vector<char> tile_of(const InstructionSet & set, const TileShape & shape, const float * x, int64_t k, int nc) {
    std::vector<char> bytes(shape.bytes(k, nc));
    const float * columns[kTile];
    for (int c = 0; c < nc; c++) columns[c] = x + c * k;
    for (int64_t group = 0; group < k / shape.group; group++) set.quantize(bytes.data(), shape, columns, k, group, nc);
    return bytes;
}

// The bytes of the one column of a tile: sizes get their signs.
std::vector<int8_t> column_of(const TileShape & shape, const int8_t * q, int64_t k) {
    std::vector<int8_t> column(q, q + k);
    if (shape.has_signs)
        for (int64_t i = 0; i < k; i++) {
            const int8_t * quad = q + i / 4 * 8 + i % 4;
            column[size_t(i)] = quad[4] != 0 ? int8_t(-quad[0]) : quad[0];
        }
    return column;
}

}  // namespace

int main() {
    const InstructionSet & set = CORRAL_SET;
    for (int32_t header[5]; read(header, 5);) {
        const auto type = ggml_type(header[0]);
        const int64_t k = header[1], rows = header[2], n = header[3], block_bytes = header[4];
        const FormatInfo * f = format_of(type);
        if (f == nullptr || set.kernels[f - formats][1] == nullptr) return 2;
        std::vector<char> blocks(size_t(rows * (k / f->block) * block_bytes)), panels(matrix_bytes(*f, k, rows) + 8192);
        std::vector<float> x(size_t(n * k));
        if (!read(blocks.data(), blocks.size()) || !read(x.data(), x.size())) return 4;
        char * base = (char *) ((uintptr_t(panels.data()) + 63) & ~uintptr_t(63));
        f->repack(base, blocks.data(), k, rows, 0, panels_of(rows));

        const TileShape shape = shape_for(set, *f);
        const int widest = widest_tile(set, *f);
        std::vector<std::vector<char>> columns;
        for (int64_t c = 0; c < n; c++) columns.push_back(tile_of(set, shape, x.data() + c * k, k, 1));
        for (const auto & column : columns) write(column_of(shape, shape.at(column.data(), k, 1).q, k).data(), size_t(k));
        for (const auto & column : columns) write(shape.at(column.data(), k, 1).d, size_t(k / shape.group));

        for (int nc = 1; nc <= n; nc++) {
            std::vector<float> out(size_t(nc * panels_of(rows) * kRows));
            const size_t stride = size_t(panels_of(rows)) * kRows;
            for (int first = 0; first < nc; first += widest) {
                const int width = std::min(widest, nc - first);
                const auto bytes = tile_of(set, shape, x.data() + first * k, k, width);
                const Tile tile = shape.at(bytes.data(), k, width);
                for (int64_t p = 0; p < panels_of(rows); p++) {
                    const char * panel = base + p * (k / f->block) * int64_t(f->panel_block);
                    const char * d = base + scales_at(*f, k, rows) + p * (k / f->block) * 2 * kRows;
                    set.kernels[f - formats][width](panel, d, k / f->block, tile, out.data() + size_t(first) * stride + size_t(p * kRows), stride);
                }
            }
            for (int c = 0; c < nc; c++) write(out.data() + size_t(c) * stride, size_t(rows));
        }
    }
    return 0;
}
