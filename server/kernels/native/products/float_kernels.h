// The kernels of weights that are floats or halves: products of floats, with inputs that aren't rounded.
#pragma once
#include "products/panel_kernels.h"
#include "sets/instruction_set.h"

namespace corral {
namespace {

constexpr int kFloatColumns = 6;  // of a tile: with two registers of weights and one of inputs, 12 of sums are all that there are
constexpr int kSummed = 4;        // blocks of a row are summed before they are added to the total, which keeps long sums exact

// The cache lines of each block that a tile fetches of the weights ahead.
struct Lines {
    int first, count;
};
template <class Weight> constexpr int lines_of_block() { return sizeof(typename Weight::Panel) / 64; }

// Sums the products of n blocks with the columns of a tile, whose inputs are at x. `Weight::load` makes floats of a
// `Weight::Panel`.
template <class S, class Weight, int nc>
CORRAL_INLINE void sum_blocks(typename S::Floats (&sums)[kRows / S::kLanes][nc], const typename Weight::Panel * w, int64_t n, const float * x, Lines lines) {
    constexpr int parts = kRows / S::kLanes;
    clear_totals<S, nc>(sums);
    for (const auto * end = w + n; w < end; w++) {
        for (int i = 0; i < lines.count; i++) ahead<S, 1, kTile>((const char *) w + (lines.first + i) * 64);
        CORRAL_UNROLL_4 for (int i = 0; i < kSpan; i++, x += nc) {
            typename S::Floats v[parts];
            CORRAL_UNROLL for (int h = 0; h < parts; h++) v[h] = Weight::load(w->q[i] + h * S::kLanes);
            CORRAL_UNROLL for (int c = 0; c < nc; c++) {
                const auto a = S::all(x[c]);
                CORRAL_UNROLL for (int h = 0; h < parts; h++) sums[h][c] = S::plus_product(sums[h][c], v[h], a);
            }
        }
    }
}

template <class S, class Weight, int nc>
void multiply_floats(const char * panel, const char *, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    constexpr int parts = kRows / S::kLanes;
    const auto * w = (const typename Weight::Panel *) panel;
    const auto * x = (const float *) tile.q;
    typename S::Floats total[parts][nc], sums[parts][nc];
    clear_totals<S, nc>(total);
    for (int64_t b = 0; b < n_blocks; b += kSummed, x += kSummed * kSpan * nc) {
        sum_blocks<S, Weight, nc>(sums, w + b, n_blocks - b < kSummed ? n_blocks - b : kSummed, x, { 0, lines_of_block<Weight>() });
        for (int h = 0; h < parts; h++)
            CORRAL_UNROLL for (int c = 0; c < nc; c++) total[h][c] = S::plus(total[h][c], sums[h][c]);
    }
    store_totals<S, nc>(total, out, stride);
}

// Adds them to the columns' totals, [nc][kRows].
template <class S, class Weight, int nc>
CORRAL_INLINE void add_blocks(const typename Weight::Panel * w, int64_t n, const float * x, Lines lines, float * totals) {
    typename S::Floats sums[kRows / S::kLanes][nc];
    sum_blocks<S, Weight, nc>(sums, w, n, x, lines);
    for (int h = 0; h < kRows / S::kLanes; h++)
        CORRAL_UNROLL for (int c = 0; c < nc; c++) {
            float * total = totals + c * kRows + h * S::kLanes;
            S::store_floats(total, S::plus(S::load_floats(total), sums[h][c]));
        }
}

// A few blocks stay in the first cache for all tiles.
template <class S, class Weight>
void multiply_many_floats(const char * panel, const char *, int64_t n_blocks, const WideTile * tiles, int n_tiles, float * totals) {
    const auto * w = (const typename Weight::Panel *) panel;
    const int per_tile = (lines_of_block<Weight>() + n_tiles - 1) / n_tiles;
    for (int64_t b = 0; b < n_blocks; b += kSummed) {
        const int64_t n = n_blocks - b < kSummed ? n_blocks - b : kSummed;
        float * to = totals;
        for (int t = 0; t < n_tiles; to += tiles[t++].columns * kRows) {
            const auto * x = (const float *) tiles[t].tile.q + b * kSpan * tiles[t].columns;
            const Lines lines = { t * per_tile, per_tile };
            switch (tiles[t].columns) {
                case 6: add_blocks<S, Weight, 6>(w + b, n, x, lines, to); break;
                case 5: add_blocks<S, Weight, 5>(w + b, n, x, lines, to); break;
                case 4: add_blocks<S, Weight, 4>(w + b, n, x, lines, to); break;
                case 3: add_blocks<S, Weight, 3>(w + b, n, x, lines, to); break;
                case 2: add_blocks<S, Weight, 2>(w + b, n, x, lines, to); break;
                default: add_blocks<S, Weight, 1>(w + b, n, x, lines, to);
            }
        }
    }
}

template <class S> struct Float16 {
    using Panel = PanelHalf;
    static CORRAL_INLINE typename S::Floats load(const uint16_t * p) { return S::halves(p); }
};
template <class S> struct Bfloat16 {
    using Panel = PanelHalf;
    static CORRAL_INLINE typename S::Floats load(const uint16_t * p) { return S::upper_halves(p); }
};
template <class S> struct Float32 {
    using Panel = PanelFloat;
    static CORRAL_INLINE typename S::Floats load(const uint32_t * p) { return S::load_floats((const float *) p); }
};
template <class S, int nc> struct F16 { static constexpr Kernel multiply = multiply_floats<S, Float16<S>, nc>; };
template <class S, int nc> struct BF16 { static constexpr Kernel multiply = multiply_floats<S, Bfloat16<S>, nc>; };
template <class S, int nc> struct F32 { static constexpr Kernel multiply = multiply_floats<S, Float32<S>, nc>; };

// The set with kernels for weights in floats and halves, for one where ggml's are slow. The second tile makes columns many.
template <class S> constexpr InstructionSet with_floats(InstructionSet set) {
    const auto columns = std::make_integer_sequence<int, kFloatColumns>{};
    fill<S, F16>(set.kernels[kF16], columns);
    fill<S, BF16>(set.kernels[kBF16], columns);
    fill<S, F32>(set.kernels[kF32], columns);
    set.many[kF16] = { multiply_many_floats<S, Float16<S>>, kFloatColumns + 1, false, kFloatColumns };
    set.many[kBF16] = { multiply_many_floats<S, Bfloat16<S>>, kFloatColumns + 1, false, kFloatColumns };
    set.many[kF32] = { multiply_many_floats<S, Float32<S>>, kFloatColumns + 1, false, kFloatColumns };
    return set;
}

}  // namespace
}  // namespace corral
