// Multiplies matrices from standard input with the kernels of one instruction set, CORRAL_SET.
//
// A case is five int32 (ggml's type, k, rows, n, the bytes of a block), the matrix in ggml's blocks and n columns of k floats. Its answer
// is the activations as the kernels see them (int8 [n][k], float [n][k / group]) and then, for each tile of the first
// nc = 1 .. n columns, the products [nc][rows]. Links no part of ggml: it runs where only an emulator does.
#include "formats.h"
#include "sets/sets.h"
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

        std::vector<std::vector<char>> columns;
        for (int64_t c = 0; c < n; c++) columns.push_back(tile_of(set, f->shape, x.data() + c * k, k, 1));
        for (const auto & column : columns) write(f->shape.at(column.data(), k, 1).q, size_t(k));
        for (const auto & column : columns) write(f->shape.at(column.data(), k, 1).d, size_t(k / f->shape.group));

        for (int nc = 1; nc <= n; nc++) {
            const auto bytes = tile_of(set, f->shape, x.data(), k, nc);
            const Tile tile = f->shape.at(bytes.data(), k, nc);
            std::vector<float> out(size_t(nc * panels_of(rows) * kRows));
            const size_t stride = size_t(panels_of(rows)) * kRows;
            for (int64_t p = 0; p < panels_of(rows); p++) {
                const char * panel = base + p * (k / f->block) * int64_t(f->panel_block);
                const char * d = base + scales_at(*f, k, rows) + p * (k / f->block) * 2 * kRows;
                set.kernels[f - formats][nc](panel, d, k / f->block, tile, out.data() + p * kRows, stride);
            }
            for (int c = 0; c < nc; c++) write(out.data() + size_t(c) * stride, size_t(rows));
        }
    }
    return 0;
}
