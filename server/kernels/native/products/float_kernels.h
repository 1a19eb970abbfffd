// The kernels of weights that are floats or halves: products of floats, with inputs that aren't rounded.
#pragma once
#include "products/panel_kernels.h"

namespace corral {
namespace {

// Adds a block's products with columns first .. first + count - 1, whose sums of all 16 rows stay in registers together.
// The block's products are summed first, which keeps long sums exact.
template <class S, class Weight, int nc, int first, int count>
CORRAL_INLINE void add_floats(typename S::Floats (&total)[kRows / S::kLanes][nc], const typename Weight::Panel & w, const float * x) {
    constexpr int parts = kRows / S::kLanes;
    typename S::Floats sums[parts][count];
    for (int h = 0; h < parts; h++)
        CORRAL_UNROLL for (int c = 0; c < count; c++) sums[h][c] = S::no_floats();
    for (int i = 0; i < kSpan; i++) {
        typename S::Floats v[parts];
        CORRAL_UNROLL for (int h = 0; h < parts; h++) v[h] = Weight::load(w.q[i] + h * S::kLanes);
        CORRAL_UNROLL for (int c = 0; c < count; c++) {
            const auto a = S::all(x[i * nc + first + c]);
            CORRAL_UNROLL for (int h = 0; h < parts; h++) sums[h][c] = S::plus_product(sums[h][c], v[h], a);
        }
    }
    for (int h = 0; h < parts; h++)
        CORRAL_UNROLL for (int c = 0; c < count; c++) total[h][first + c] = S::plus(total[h][first + c], sums[h][c]);
}

// `Weight::load` makes floats of the weights in a `Weight::Panel`.
template <class S, class Weight, int nc>
void multiply_floats(const char * panel, const char *, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    constexpr int at_once = nc > 4 ? (nc + 1) / 2 : nc;
    const auto * w = (const typename Weight::Panel *) panel;
    const auto * x = (const float *) tile.q;
    typename S::Floats total[kRows / S::kLanes][nc];
    clear_totals<S, nc>(total);
    for (int64_t b = 0; b < n_blocks; b++, w++, x += kSpan * nc) {
        ahead<S, sizeof *w / 64, nc>(w);
        add_floats<S, Weight, nc, 0, at_once>(total, *w, x);
        if constexpr (at_once < nc) add_floats<S, Weight, nc, at_once, nc - at_once>(total, *w, x);
    }
    store_totals<S, nc>(total, out, stride);
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

}  // namespace
}  // namespace corral
