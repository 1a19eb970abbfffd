// The kernels of weights that are halves: products of floats, with inputs that aren't rounded.
#pragma once
#include "products/panel_kernels.h"

namespace corral {
namespace {

// Adds a block's products with columns first .. first + count - 1, whose sums of all 16 rows stay in registers together.
// The block's products are summed first, which keeps long sums exact.
template <class S, class Half, int nc, int first, int count>
CORRAL_INLINE void add_halves(typename S::Floats (&total)[kRows / S::kLanes][nc], const PanelHalf & w, const float * x) {
    constexpr int parts = kRows / S::kLanes;
    typename S::Floats sums[parts][count];
    for (int h = 0; h < parts; h++)
        CORRAL_UNROLL for (int c = 0; c < count; c++) sums[h][c] = S::no_floats();
    for (int i = 0; i < kSpan; i++) {
        typename S::Floats v[parts];
        CORRAL_UNROLL for (int h = 0; h < parts; h++) v[h] = Half::load(w.q[i] + h * S::kLanes);
        CORRAL_UNROLL for (int c = 0; c < count; c++) {
            const auto a = S::all(x[i * nc + first + c]);
            CORRAL_UNROLL for (int h = 0; h < parts; h++) sums[h][c] = S::plus_product(sums[h][c], v[h], a);
        }
    }
    for (int h = 0; h < parts; h++)
        CORRAL_UNROLL for (int c = 0; c < count; c++) total[h][first + c] = S::plus(total[h][first + c], sums[h][c]);
}

// `Half::load` makes floats of halves.
template <class S, class Half, int nc>
void multiply_halves(const char * panel, const char *, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    constexpr int at_once = nc > 4 ? (nc + 1) / 2 : nc;
    const auto * w = (const PanelHalf *) panel;
    const auto * x = (const float *) tile.q;
    typename S::Floats total[kRows / S::kLanes][nc];
    clear_totals<S, nc>(total);
    for (int64_t b = 0; b < n_blocks; b++, w++, x += kSpan * nc) {
        ahead<S, sizeof *w / 64, nc>(w);
        add_halves<S, Half, nc, 0, at_once>(total, *w, x);
        if constexpr (at_once < nc) add_halves<S, Half, nc, at_once, nc - at_once>(total, *w, x);
    }
    store_totals<S, nc>(total, out, stride);
}

template <class S> struct Float16 {
    static CORRAL_INLINE typename S::Floats load(const uint16_t * p) { return S::halves(p); }
};
template <class S> struct Bfloat16 {
    static CORRAL_INLINE typename S::Floats load(const uint16_t * p) { return S::upper_halves(p); }
};
template <class S, int nc> struct F16 { static constexpr Kernel multiply = multiply_halves<S, Float16<S>, nc>; };
template <class S, int nc> struct BF16 { static constexpr Kernel multiply = multiply_halves<S, Bfloat16<S>, nc>; };

}  // namespace
}  // namespace corral
