// AMX's products of matrices: a panel's 16 rows times all columns of a tile, of 32 or 16 inputs each.
//
// Unpacked quads are the rows of one tile, 64 bytes each, and a column's activations a row of the other.
#pragma once
#include "sets/simd_avx512.h"
#include "sets/tiles.h"

namespace corral {
namespace {

struct Amx {
    using Vocabulary = Avx512;
    static constexpr int kTogether = 32;

    // Tiles for as long as a panel takes. ggml's own kernels configure theirs once for each thread, so they are put back.
    template <int nc> struct Setup {
        TileConfiguration before;

        Setup() {
            TileConfiguration mine;
            shape(mine, kSums, nc, 64);
            shape(mine, kColumns<8>, nc, 32);
            shape(mine, kColumns<4>, nc, 16);
            shape(mine, kWeights<8>, 8, 64);
            shape(mine, kWeights<4>, 4, 64);
            store_configuration(before);
            load_configuration(mine);
        }
        ~Setup() { load_configuration(before); }
        Setup(const Setup &) = delete;

      private:
        static void shape(TileConfiguration & c, int tile, int rows, int row_bytes) {
            c.rows[tile] = uint8_t(rows);
            c.row_bytes[tile] = uint16_t(row_bytes);
        }
    };

    // Multiplies 16 rows of `n` quads with nc columns: sums[c] are the rows' sums of column c.
    template <int n, int nc> static CORRAL_INLINE void multiply(const __m512i * quads, const int8_t * x, __m512i * sums) {
        alignas(64) int8_t weights[n][64];
        alignas(64) int32_t products[nc][kRows];
        for (int t = 0; t < n; t++) Avx512::store(weights[t], quads[t]);
        tile_zero<kSums>();
        tile_load<kColumns<n>>(x, kTogether);
        tile_load<kWeights<n>>(weights, 64);
        tile_dot<kSums, kColumns<n>, kWeights<n>>();
        tile_store<kSums>(products, 64);
        for (int c = 0; c < nc; c++) sums[c] = Avx512::load(products[c]);
    }

  private:
    static constexpr int kSums = 0;
    template <int n> static constexpr int kColumns = n == 8 ? 1 : 2;  // of n quads
    template <int n> static constexpr int kWeights = n == 8 ? 3 : 4;
};

}  // namespace
}  // namespace corral
