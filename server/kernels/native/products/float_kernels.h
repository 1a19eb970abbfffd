// The kernels of weights that are floats or halves: products of floats, with inputs that aren't rounded.
#pragma once
#include "products/panel_kernels.h"

namespace corral {
namespace {

constexpr int kFloatColumns = 6;  // of a tile: with two registers of weights and one of inputs, 12 of sums are all that there are

// The block's products are summed first, which keeps long sums exact. `Weight::load` makes floats of a `Weight::Panel`.
template <class S, class Weight, int nc>
void multiply_floats(const char * panel, const char *, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    constexpr int parts = kRows / S::kLanes;
    const auto * w = (const typename Weight::Panel *) panel;
    const auto * x = (const float *) tile.q;
    typename S::Floats total[parts][nc];
    clear_totals<S, nc>(total);
    for (int64_t b = 0; b < n_blocks; b++, w++) {
        ahead<S, sizeof *w / 64, nc>(w);
        typename S::Floats sums[parts][nc];
        clear_totals<S, nc>(sums);
        _Pragma("GCC unroll 4") for (int i = 0; i < kSpan; i++, x += nc) {
            typename S::Floats v[parts];
            CORRAL_UNROLL for (int h = 0; h < parts; h++) v[h] = Weight::load(w->q[i] + h * S::kLanes);
            CORRAL_UNROLL for (int c = 0; c < nc; c++) {
                const auto a = S::all(x[c]);
                CORRAL_UNROLL for (int h = 0; h < parts; h++) sums[h][c] = S::plus_product(sums[h][c], v[h], a);
            }
        }
        for (int h = 0; h < parts; h++)
            CORRAL_UNROLL for (int c = 0; c < nc; c++) total[h][c] = S::plus(total[h][c], sums[h][c]);
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
