// The kernels of weights that are halves: products of floats, with inputs that aren't rounded.
#pragma once
#include "panel_kernels.h"

namespace corral {
namespace {

// `Half::load` makes floats of halves. A block's products are summed first, which keeps long sums exact.
template <class S, class Half, int nc>
void multiply_halves(const char * panel, const char *, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    const auto * w = (const PanelHalf *) panel;
    const auto * x = (const float *) tile.q;
    typename S::Floats total[kRows / S::kLanes][nc];
    clear_totals<S, nc>(total);
    for (int64_t b = 0; b < n_blocks; b++, w++, x += kSpan * nc) {
        for (int h = 0; h < kRows / S::kLanes; h++) {
            const auto * inputs = x;
            CORRAL_OPAQUE(inputs);
            typename S::Floats sums[nc];
            CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::no_floats();
            for (int i = 0; i < kSpan; i++) {
                if (h == 0 && i % 2 == 0) ahead<S, 1, nc>(w->q[i]);
                const auto v = Half::load(w->q[i] + h * S::kLanes);
                CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::plus_product(sums[c], v, S::all(inputs[i * nc + c]));
            }
            CORRAL_UNROLL for (int c = 0; c < nc; c++) total[h][c] = S::plus(total[h][c], sums[c]);
        }
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
