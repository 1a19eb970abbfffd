// The kernels of IQ4_XS for sets that multiply bytes with a sign by bytes without one, as large as bytes get.
//
// Activations come as sizes and signs. A weight takes an activation's sign by being inverted: -1 - w for -w, which loses
// the size of each negative activation once, whatever the weight is. The tile's sums hold these sizes, and a block's sums
// get back at its end what they lost. So a weight is looked up and no more, a column's product is an exclusive or, and the
// scale is applied while pairs of products are added: sums of a block are whole numbers. All rows of a panel meet each
// activation that is loaded, for as many columns as leave their sums in registers; further tiles find the weights looked up.
#pragma once
#include "sets/instruction_set.h"

// A function of its own: all registers are for its loop.
#define CORRAL_APART __attribute__((noinline))

namespace corral {
namespace {

// Where a tile's weights come from: they are looked up, or that and kept for further tiles, or were kept.
enum Source { kLookUp, kKeep, kKept };

template <class S> struct BlockIQ4XS {
    static constexpr int kParts = kRows / S::kLanes;
    static constexpr int kSpans = kBlock / kSpan;
    static_assert(kParts == 2);
    using Panel = PanelIQ4XS;
    using Weights = typename S::Bytes[kParts];  // a quad's, of all rows
    using Scales = typename S::Scale[kParts];
    template <int nc> using Sums = typename S::Part[kParts][nc];

    Weights kept[kSpans][kSpan / 4];
    alignas(64) int8_t scales[kSpans][kRows];
    alignas(64) int8_t pairs[kSpans / 2][kRows][2];  // of scales of two spans

    CORRAL_INLINE explicit BlockIQ4XS(const Panel & w) {
        const auto high = S::load(w.high), low0 = S::load(w.low), low1 = S::load(w.low + 2 * kRows);
        decode_two(0, S::template joined<4, 0x30>(S::low_nibbles(low0), high));
        decode_two(1, S::template joined<2, 0x30>(S::low_nibbles(low1), high));
        decode_two(2, S::template joined<0, 0x30>(S::high_nibbles(low0), high));
        decode_two(3, S::template joined<-2, 0x30>(S::high_nibbles(low1), high));
    }

    // Adds the block's products with the columns of a tile to their totals, [nc][kRows].
    template <Source source, int nc> CORRAL_APART void add(const Panel & w, const char * d, const Tile & tile, int64_t b, float * totals) {
        Sums<nc> sums;
        CORRAL_UNROLL for (int h = 0; h < kParts; h++)
            CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[h][c] = S::no_part();
        const auto * x = tile.q + b * kBlock * nc * 2;
        for (int s = 0; s < kSpans; s++, x += 2 * kSpan * nc) {
            if constexpr (source != kKept) ahead<S, 4, nc>(w.spans + s);
            add_span<source, nc>(sums, w.spans[s], s, x);
        }
        const auto * lost = tile.sums + b * kSpans * nc;
        const auto * ad = tile.d + b * nc;
        CORRAL_UNROLL for (int h = 0; h < kParts; h++) {
            CORRAL_OPAQUE(lost);
            CORRAL_OPAQUE(ad);
            CORRAL_UNROLL for (int p = 0; p < kSpans / 2; p++) {
                const auto two = S::pairs_s8(pairs[p][h * S::kLanes]);
                CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[h][c] = S::dot_pairs(sums[h][c], two, lost + (p * nc + c) * 2);
            }
            const auto v = S::halves(d + 2 * h * S::kLanes);
            CORRAL_UNROLL for (int c = 0; c < nc; c++) {
                float * total = totals + c * kRows + h * S::kLanes;
                S::store_floats(total, S::plus_product(S::load_floats(total), S::product(S::floats(sums[h][c]), v), S::all(ad[c])));
            }
        }
    }

  private:
    CORRAL_INLINE void decode_two(int p, typename S::Bytes two) {
        S::store(scales[2 * p], S::less_32(two));
        S::store(pairs[p], S::zipped(S::less_32(two)));
    }

    // The loop is short on purpose: those for a first tile and for further ones alternate, and stay decoded side by side.
    template <Source source, int nc> CORRAL_INLINE void add_span(Sums<nc> & sums, const PanelQ4 & w, int s, const int8_t * x) {
        const Scales scale = { S::scale_s8_twice(scales[s]), S::scale_s8_twice(scales[s] + S::kLanes) };
        for (int t = 0; t < 4; t++, x += 8 * nc) {
            CORRAL_OPAQUE(x);
            add_quad<source, nc, false>(sums, w.q[t], kept[s][t], x, scale);
            add_quad<source, nc, true>(sums, w.q[t], kept[s][t + 4], x + 4 * 8 * nc, scale);
        }
    }

    // Adds the products of the quad in the low or high nibbles of q with the quad at x of each column.
    template <Source source, int nc, bool is_high>
    static CORRAL_INLINE void add_quad(Sums<nc> & sums, const uint8_t * q, Weights & kept, const int8_t * x, const Scales & scale) {
        Weights w;
        CORRAL_UNROLL for (int h = 0; h < kParts; h++) {
            if constexpr (source == kKept) w[h] = kept[h];
            else w[h] = look_up<is_high>(q + h * S::kLanes * 4);
            if constexpr (source == kKeep) kept[h] = w[h];
        }
        CORRAL_UNROLL for (int c = 0; c < nc; c++) {
            const auto sizes = S::quad(x + 8 * c), signs = S::quad(x + 8 * c + 4);
            CORRAL_UNROLL for (int h = 0; h < kParts; h++) sums[h][c] = S::dot_sizes(sums[h][c], sizes, S::inverted(w[h], signs), scale[h]);
        }
    }

    template <bool is_high> static CORRAL_INLINE typename S::Bytes look_up(const uint8_t * q) {
        const int8_t * levels = kLevels;
        CORRAL_OPAQUE(levels);  // sums leave no register for them
        const auto v = S::load(q);
        return S::lookup(is_high ? S::high_nibbles(v) : S::low_nibbles(v), levels);
    }
};

template <class S, int nc>
void multiply_iq4xs_by_sizes(const char * panel, const char * d, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    const auto * w = (const PanelIQ4XS *) panel;
    alignas(64) float totals[nc * kRows] = {};
    for (int64_t b = 0; b < n_blocks; b++, w++, d += 2 * kRows) BlockIQ4XS<S>(*w).template add<kLookUp, nc>(*w, d, tile, b, totals);
    for (int c = 0; c < nc; c++) memcpy(out + c * stride, totals + c * kRows, kRows * sizeof(float));
}

template <Source source, class Block>
CORRAL_INLINE void add_wide_tile(Block & block, const typename Block::Panel & w, const char * d, const WideTile & tile, int64_t b, float * totals) {
    switch (tile.columns) {
        case 4: return block.template add<source, 4>(w, d, tile.tile, b, totals);
        case 3: return block.template add<source, 3>(w, d, tile.tile, b, totals);
        case 2: return block.template add<source, 2>(w, d, tile.tile, b, totals);
        default: return block.template add<source, 1>(w, d, tile.tile, b, totals);
    }
}

template <class S> void multiply_many_iq4xs(const char * panel, const char * d, int64_t n_blocks, const WideTile * tiles, int n_tiles, float * totals) {
    const auto * w = (const PanelIQ4XS *) panel;
    for (int64_t b = 0; b < n_blocks; b++, w++, d += 2 * kRows) {
        BlockIQ4XS<S> block(*w);
        add_wide_tile<kKeep>(block, *w, d, tiles[0], b, totals);
        float * to = totals;
        for (int t = 1; t < n_tiles; t++) add_wide_tile<kKept>(block, *w, d, tiles[t], b, to += tiles[t - 1].columns * kRows);
    }
}

template <class S, int nc> struct IQ4XSBySizes { static constexpr Kernel multiply = multiply_iq4xs_by_sizes<S, nc>; };

// The set with these kernels. Tiles are as narrow as those of many columns, which begin with the second tile.
template <class S> constexpr InstructionSet with_sizes(InstructionSet set) {
    static_assert(kManyTile == 4);
    set.has_signs[kIQ4XS] = true;
    for (auto & kernel : set.kernels[kIQ4XS]) kernel = nullptr;
    fill<S, IQ4XSBySizes>(set.kernels[kIQ4XS], std::make_integer_sequence<int, kManyTile>{});
    set.many[kIQ4XS] = { multiply_many_iq4xs<S>, kManyTile + 1 };
    return set;
}

}  // namespace
}  // namespace corral
