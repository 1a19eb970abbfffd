// The kernels of K formats for many columns: a block of a panel is unpacked to bytes once, for all of them.
//
// All rows of a panel meet each activation that is loaded, for as many columns as leave their sums in registers. What is
// added to a column's sums, and in which order, is as in panel_kernels.h: a product is the same, bit for bit.
#pragma once
#include "products/panel_kernels.h"

namespace corral {
namespace {

// Each format unpacks a block of 256 inputs and adds the block's products to the totals of a tile. `kQuads` quads have a
// scale in common, and the sums of `kRun` of them fit S::Sums.
template <class S, class P, int most> struct ManyK {  // Q4_K and Q5_K
    using Panel = P;
    static constexpr int kParts = kRows / S::kLanes;
    static constexpr int kQuads = 8;
    static constexpr int kRun = S::template run<most>() < kQuads ? S::template run<most>() : kQuads;
    typename S::Bytes quads[kBlock / 4][kParts];
    typename S::Scale scales[kBlock / 4 / kQuads][kParts];
    FactorsOfK<S> factors[kParts];

    CORRAL_INLINE void unpack(const Panel & w, const char *) {
        alignas(64) uint8_t decoded[256];
        decode<S>(w.scales, decoded);
        for (int h = 0; h < kParts; h++) {
            const int row = h * S::kLanes;
            factors[h] = FactorsOfK<S>(decoded, w, row);
            for (int j = 0; j < 8; j++) {
                scales[j][h] = S::scale_u8(decoded + 16 * j + row);
                unpack_two<0>(w, j, h);
                unpack_two<1>(w, j, h);
                unpack_two<2>(w, j, h);
                unpack_two<3>(w, j, h);
            }
        }
    }
    template <int t> CORRAL_INLINE void unpack_two(const Panel & w, int j, int h) {
        const int byte = h * S::kLanes * 4;
        const auto v = S::load(w.q[j][t] + byte);
        auto low = S::low_nibbles(v), high = S::high_nibbles(v);
        if constexpr (most > 15) {
            const auto fifth = S::load(w.q[j][4] + byte);
            low = S::template joined<4 - t, 0x10>(low, fifth);
            high = S::template joined<-t, 0x10>(high, fifth);
        }
        quads[j * 8 + t][h] = low;
        quads[j * 8 + t + 4][h] = high;
    }

    CORRAL_INLINE typename S::Sums start(int, int) const { return S::no_sums(); }
    static CORRAL_INLINE typename S::Sums dot(typename S::Sums sums, typename S::Bytes w, typename S::Bytes a) { return S::dot(sums, w, a); }
    template <int nc>
    CORRAL_INLINE void add(typename S::Floats (&total)[nc], const typename S::Part (&part)[nc], int h, const Tile & tile, int64_t b) const {
        add_block_k<S, nc>(total, part, factors[h], tile.sums + b * 8 * nc, tile.d + b * nc);
    }
};

// Q6_K's weights are signed here, and activations 128 too large: then the sums of 16 products fit 16 bits.
template <class S> struct ManyQ6K {
    using Panel = PanelQ6K;
    static constexpr int kParts = kRows / S::kLanes;
    static constexpr int kQuads = 4, kRun = 4;
    typename S::Bytes quads[kBlock / 4][kParts];
    typename S::Scale scales[kBlock / 4 / kQuads][kParts];
    typename S::Sums starts[kBlock / 4 / kQuads][kParts];
    typename S::Floats d[kParts];

    CORRAL_INLINE void unpack(const Panel & w, const char * behind) {
        for (int h = 0; h < kParts; h++) {
            const int byte = h * S::kLanes * 4, row = h * S::kLanes;
            d[h] = S::halves(behind + 2 * row);
            for (int j = 0; j < 16; j++) {
                const auto * pairs = w.scales[j / 2][row];
                scales[j][h] = j % 2 == 0 ? S::template scale_of_pairs<0>(pairs) : S::template scale_of_pairs<1>(pairs);
                const auto v0 = S::load(w.q[j][0] + byte), v1 = S::load(w.q[j][1] + byte), u = S::load(w.q[j][2] + byte);
                const typename S::Bytes weights[4] = {
                    S::template joined<4, 0x30>(S::low_nibbles(v0), u), S::template joined<2, 0x30>(S::low_nibbles(v1), u),
                    S::template joined<0, 0x30>(S::high_nibbles(v0), u), S::template joined<-2, 0x30>(S::high_nibbles(v1), u) };
                starts[j][h] = S::no_sums();
                CORRAL_UNROLL for (int t = 0; t < 4; t++) {
                    quads[j * 4 + t][h] = S::less_32(weights[t]);
                    starts[j][h] = S::less_128(starts[j][h], S::less_32(weights[t]));
                }
            }
        }
    }

    CORRAL_INLINE typename S::Sums start(int j, int h) const { return starts[j][h]; }
    static CORRAL_INLINE typename S::Sums dot(typename S::Sums sums, typename S::Bytes w, typename S::Bytes a) { return S::dot(sums, a, w); }
    template <int nc>
    CORRAL_INLINE void add(typename S::Floats (&total)[nc], const typename S::Part (&part)[nc], int h, const Tile & tile, int64_t b) const {
        CORRAL_UNROLL for (int c = 0; c < nc; c++)
            total[c] = S::plus_product(total[c], S::product(S::floats(part[c]), d[h]), S::all(tile.d[b * nc + c]));
    }
};

// Adds the products of block b with the columns of one tile to their totals, [nc][kRows].
template <class S, class Block, int nc> CORRAL_INLINE void add_tile(const Block & block, const Tile & tile, int64_t b, float * totals) {
    constexpr int parts = kRows / S::kLanes;
    typename S::Part part[parts][nc];
    for (int h = 0; h < parts; h++)
        CORRAL_UNROLL for (int c = 0; c < nc; c++) part[h][c] = S::no_part();
    const auto * x = tile.q + b * kBlock * nc;
    const auto * w = block.quads;
    for (int j = 0; j < kBlock / 4 / Block::kQuads; j++)
        CORRAL_UNROLL for (int first = 0; first < Block::kQuads; first += Block::kRun) {
            typename S::Sums sums[parts][nc];
            CORRAL_UNROLL for (int h = 0; h < parts; h++)
                CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[h][c] = block.start(j, h);
            CORRAL_UNROLL for (int i = 0; i < Block::kRun; i++, x += 4 * nc, w++)
                CORRAL_UNROLL for (int c = 0; c < nc; c++) {
                    const auto a = S::quad(x + 4 * c);
                    CORRAL_UNROLL for (int h = 0; h < parts; h++) sums[h][c] = Block::dot(sums[h][c], (*w)[h], a);
                }
            CORRAL_UNROLL for (int h = 0; h < parts; h++)
                CORRAL_UNROLL for (int c = 0; c < nc; c++) part[h][c] = S::scaled(part[h][c], sums[h][c], block.scales[j][h]);
        }
    for (int h = 0; h < parts; h++) {
        typename S::Floats total[nc];
        CORRAL_UNROLL for (int c = 0; c < nc; c++) total[c] = S::load_floats(totals + c * kRows + h * S::kLanes);
        block.template add<nc>(total, part[h], h, tile, b);
        CORRAL_UNROLL for (int c = 0; c < nc; c++) S::store_floats(totals + c * kRows + h * S::kLanes, total[c]);
    }
}

template <class S, class Block> void multiply_many(const char * panel, const char * d, int64_t n_blocks, const WideTile * tiles, int n_tiles, float * totals) {
    const auto * w = (const typename Block::Panel *) panel;
    for (int64_t b = 0; b < n_blocks; b++, w++, d += 2 * kRows) {
        Block block;
        block.unpack(*w, d);
        float * to = totals;
        const int lines = int(sizeof *w / 64 + n_tiles - 1) / n_tiles;  // of the weights ahead, for each tile
        for (int t = 0; t < n_tiles; to += tiles[t++].columns * kRows) {
            const Tile & tile = tiles[t].tile;
            for (int i = 0; i < lines; i++) ahead<S, 1, kTile>((const char *) w + (t * lines + i) * 64);
            switch (tiles[t].columns) {
                case 4: add_tile<S, Block, 4>(block, tile, b, to); break;
                case 3: add_tile<S, Block, 3>(block, tile, b, to); break;
                case 2: add_tile<S, Block, 2>(block, tile, b, to); break;
                default: add_tile<S, Block, 1>(block, tile, b, to);
            }
        }
    }
}

// The set with kernels for many columns, from as many on as they were the faster ones on Zen 3.
template <class S> constexpr InstructionSet with_many(InstructionSet set) {
    static_assert(kManyTile == 4);
    set.many[kQ4K] = { multiply_many<S, ManyK<S, PanelQ4K, 15>>, 32, false };
    set.many[kQ5K] = { multiply_many<S, ManyK<S, PanelQ5K, 31>>, 32, false };
    set.many[kQ6K] = { multiply_many<S, ManyQ6K<S>>, 16, true };
    return set;
}

}  // namespace
}  // namespace corral
