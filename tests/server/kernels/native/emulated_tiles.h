// AMX's tile instructions in plain C++, as strict as the processor. Included before all else.
#pragma once
#define CORRAL_TILE_INSTRUCTIONS
#include "sets/tiles.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace corral {
namespace {
namespace emulated_tiles {

constexpr int kTiles = 8, kMostRows = 16, kMostBytes = 64;

TileConfiguration configuration = { 0, 0, {}, {}, {} };
uint8_t contents[kTiles][kMostRows][kMostBytes];

// The processor raises a fault where this ends the process.
inline void check(bool holds, const char * what) {
    if (holds) return;
    fprintf(stderr, "an AMX instruction would fault: %s\n", what);
    abort();
}
inline void check_tile(int tile) {
    check(configuration.palette == 1, "tiles are not configured");
    check(configuration.rows[tile] > 0 && configuration.row_bytes[tile] > 0, "the tile has no shape");
}

}  // namespace emulated_tiles

inline void load_configuration(const TileConfiguration & c) {
    using namespace emulated_tiles;
    check(c.palette <= 1 && c.start_row == 0, "palette or first row");
    for (const auto byte : c.reserved) check(byte == 0, "a reserved byte is set");
    for (int tile = 0; tile < 16; tile++) {
        const bool is_unused = c.palette == 0 || tile >= kTiles;
        check(is_unused ? c.rows[tile] == 0 && c.row_bytes[tile] == 0 : c.rows[tile] <= kMostRows && c.row_bytes[tile] <= kMostBytes, "a tile's shape");
    }
    configuration = c;
    memset(contents, 0, sizeof contents);
}
inline void store_configuration(TileConfiguration & c) { c = emulated_tiles::configuration; }

// The tiles of ggml, which configures them once for each thread: the kernels have to leave them as they are.
struct Others {
    TileConfiguration configuration;
    Others() {
        configuration.rows[5] = 7;
        configuration.row_bytes[5] = 28;
        load_configuration(configuration);
    }
    ~Others() {
        TileConfiguration after;
        store_configuration(after);
        emulated_tiles::check(memcmp(&after, &configuration, sizeof after) == 0, "other kernels' tiles have lost their shape");
    }
};
const Others others;

template <int tile> void tile_zero() {
    emulated_tiles::check_tile(tile);
    memset(emulated_tiles::contents[tile], 0, sizeof emulated_tiles::contents[tile]);
}
template <int tile> void tile_load(const void * p, int64_t row_stride) {
    using namespace emulated_tiles;
    tile_zero<tile>();
    for (int row = 0; row < configuration.rows[tile]; row++)
        memcpy(contents[tile][row], (const char *) p + row * row_stride, configuration.row_bytes[tile]);
}
template <int tile> void tile_store(void * p, int64_t row_stride) {
    using namespace emulated_tiles;
    check_tile(tile);
    for (int row = 0; row < configuration.rows[tile]; row++)
        memcpy((char *) p + row * row_stride, contents[tile][row], configuration.row_bytes[tile]);
}
template <int sums, int a, int b> void tile_dot() {
    using namespace emulated_tiles;
    static_assert(sums != a && sums != b && a != b);
    const auto & rows = configuration.rows;
    const auto & bytes = configuration.row_bytes;
    for (const int tile : { sums, a, b }) check_tile(tile);
    check(rows[sums] == rows[a] && bytes[sums] == bytes[b] && bytes[a] == 4 * rows[b] && bytes[sums] % 4 == 0, "shapes don't match");
    for (int m = 0; m < rows[sums]; m++)
        for (int n = 0; n < bytes[sums] / 4; n++) {
            int32_t sum;
            memcpy(&sum, contents[sums][m] + 4 * n, 4);
            for (int k = 0; k < rows[b]; k++)
                for (int i = 0; i < 4; i++) sum += int8_t(contents[a][m][4 * k + i]) * int8_t(contents[b][k][4 * n + i]);
            memcpy(contents[sums][m] + 4 * n, &sum, 4);
        }
}

}  // namespace
}  // namespace corral
