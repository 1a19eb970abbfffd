// The kernels of formats whose weights are signed, or whose spans of 32 weights have a scale of their own.
//
// Products of signed weights are summed in 32 bits. A set that multiplies w + kOffset begins with -kOffset times the
// activations' sum.
#pragma once
#include "panel_kernels.h"

namespace corral {
namespace {

// Adds the products of 8 quads of nibbles that stand for levels; quad t lies in low nibbles, quad t + 4 in high ones.
template <class S, int nc>
CORRAL_INLINE void add_levels(typename S::Wide (&sums)[nc], const uint8_t (*q)[64], int byte, const int8_t * x) {
    CORRAL_UNROLL for (int t = 0; t < 4; t++) {
        const auto v = S::load(q[t] + byte);
        const auto low = S::signed_weights(S::lookup(S::low_nibbles(v), kLevels));
        CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::dot_signed(sums[c], low, S::quad(x + (t * nc + c) * 4));
        const auto high = S::signed_weights(S::lookup(S::high_nibbles(v), kLevels));
        CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::dot_signed(sums[c], high, S::quad(x + ((t + 4) * nc + c) * 4));
    }
}

// Each format of spans has a function that computes 32 inputs' sums of rows `row` and on, without the weights' scale.
struct SpanQ40 {
    using Panel = PanelQ4;
    template <class S, int nc>
    static CORRAL_INLINE void multiply(typename S::Floats (&v)[nc], const Panel & w, int byte, const int8_t * x, const int16_t * runs) {
        static_assert(S::template run<15>() >= 8);
        alignas(16) static constexpr uint8_t ones[kRows] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
        typename S::Sums sums[nc];
        CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::no_sums();
        CORRAL_UNROLL for (int t = 0; t < 4; t++) {
            const auto q = S::load(w.q[t] + byte);
            const auto low = S::low_nibbles(q);
            CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::dot(sums[c], low, S::quad(x + (t * nc + c) * 4));
            const auto high = S::high_nibbles(q);
            CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::dot(sums[c], high, S::quad(x + ((t + 4) * nc + c) * 4));
        }
        const auto one = S::scale_u8(ones);
        CORRAL_UNROLL for (int c = 0; c < nc; c++)
            v[c] = S::minus_product(S::floats(S::scaled(S::no_part(), sums[c], one)), S::all(float(runs[c])), S::all(8.0f));
    }
};

// A set's sums of 32 bits before the first product, and what they are as floats.
template <class S, int nc> CORRAL_INLINE void begin_wide(typename S::Wide (&sums)[nc], const int16_t * runs, int step) {
    CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::all_wide(S::kOffset == 0 ? 0 : -S::kOffset * runs[c * step]);
}

struct SpanIQ4NL {
    using Panel = PanelQ4;
    template <class S, int nc>
    static CORRAL_INLINE void multiply(typename S::Floats (&v)[nc], const Panel & w, int byte, const int8_t * x, const int16_t * runs) {
        typename S::Wide sums[nc];
        begin_wide<S, nc>(sums, runs, 1);
        add_levels<S, nc>(sums, w.q, byte, x);
        CORRAL_UNROLL for (int c = 0; c < nc; c++) v[c] = S::floats_of_wide(sums[c]);
    }
};

struct SpanQ80 {
    using Panel = PanelQ8;
    template <class S, int nc>
    static CORRAL_INLINE void multiply(typename S::Floats (&v)[nc], const Panel & w, int byte, const int8_t * x, const int16_t * runs) {
        typename S::Wide sums[nc];
        begin_wide<S, nc>(sums, runs, 1);
        CORRAL_UNROLL for (int t = 0; t < 8; t++) {
            const auto q = S::signed_weights(S::load(w.q[t] + byte));
            CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::dot_signed(sums[c], q, S::quad(x + (t * nc + c) * 4));
        }
        CORRAL_UNROLL for (int c = 0; c < nc; c++) v[c] = S::floats_of_wide(sums[c]);
    }
};

template <class S, class Span, int nc>
void multiply_spans(const char * panel, const char * scales, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    const auto * w = (const typename Span::Panel *) panel;
    typename S::Floats total[kRows / S::kLanes][nc];
    clear_totals<S, nc>(total);
    for (int64_t b = 0; b < n_blocks; b++, w++, scales += 2 * kRows) {
        ahead<S, sizeof *w / 64, nc>(w);
        for (int h = 0; h < kRows / S::kLanes; h++) {
            const int row = h * S::kLanes;
            typename S::Floats v[nc];
            Span::template multiply<S, nc>(v, *w, 4 * row, tile.q + b * kSpan * nc, tile.sums + b * nc);
            const auto d = S::halves(scales + 2 * row);
            CORRAL_UNROLL for (int c = 0; c < nc; c++) total[h][c] = S::plus_product(total[h][c], S::product(v[c], d), S::all(tile.d[b * nc + c]));
        }
    }
    store_totals<S, nc>(total, out, stride);
}

// The 6-bit scales of a block of IQ4_XS, minus 32: of span s and row r at [s * 16 + r].
inline void decode_scales(const PanelIQ4XS & w, int8_t * to) {
    CORRAL_UNROLL for (int s = 0; s < 8; s++)
        for (int r = 0; r < kRows; r++)
            to[s * kRows + r] = int8_t(((w.low[s % 4 * kRows + r] >> s / 4 * 4 & 15) | (w.high[s % 2 * kRows + r] >> s / 2 * 2 & 3) << 4) - 32);
}

template <class S, int nc>
void multiply_iq4xs(const char * panel, const char * d, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    const auto * w = (const PanelIQ4XS *) panel;
    typename S::Floats total[kRows / S::kLanes][nc];
    clear_totals<S, nc>(total);
    for (int64_t b = 0; b < n_blocks; b++, w++, d += 2 * kRows) {
        alignas(64) int8_t scales[8 * kRows];
        decode_scales(*w, scales);
        for (int h = 0; h < kRows / S::kLanes; h++) {
            const int row = h * S::kLanes;
            typename S::Floats part[nc];
            CORRAL_UNROLL for (int c = 0; c < nc; c++) part[c] = S::no_floats();
            for (int s = 0; s < 8; s++) {
                if (h == 0) ahead<S, 4, nc>(w->q[s]);
                typename S::Wide sums[nc];
                begin_wide<S, nc>(sums, tile.sums + (b * 8 + s / 2 * 2) * nc + s % 2, 2);
                add_levels<S, nc>(sums, w->q[s], 4 * row, tile.q + (b * kBlock + s * kSpan) * nc);
                const auto scale = S::scale_s8(scales + s * kRows + row);
                CORRAL_UNROLL for (int c = 0; c < nc; c++) part[c] = S::plus_product(part[c], S::floats_of_wide(sums[c]), scale);
            }
            const auto v = S::halves(d + 2 * row);
            CORRAL_UNROLL for (int c = 0; c < nc; c++) total[h][c] = S::plus_product(total[h][c], S::product(part[c], v), S::all(tile.d[b * nc + c]));
        }
    }
    store_totals<S, nc>(total, out, stride);
}

template <class S, int nc> struct IQ4XS { static constexpr Kernel multiply = multiply_iq4xs<S, nc>; };
template <class S, int nc> struct Q40 { static constexpr Kernel multiply = multiply_spans<S, SpanQ40, nc>; };
template <class S, int nc> struct IQ4NL { static constexpr Kernel multiply = multiply_spans<S, SpanIQ4NL, nc>; };
template <class S, int nc> struct Q80 { static constexpr Kernel multiply = multiply_spans<S, SpanQ80, nc>; };

}  // namespace
}  // namespace corral
