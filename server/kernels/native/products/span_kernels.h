// The kernels of formats whose weights are signed, or whose spans of 32 weights have a scale of their own.
//
// Products are whole numbers below 2^24, so that an offset of the weights is taken off exactly in floats as well.
#pragma once
#include "products/panel_kernels.h"

namespace corral {
namespace {

// Adds the products of a quad of signed weights with a quad of each column to sums of 32 bits.
template <class S, int nc> CORRAL_INLINE void add_signed(typename S::Wide (&sums)[nc], typename S::Bytes weights, const int8_t * x) {
    const auto w = S::signed_weights(weights);
    CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::dot_signed(sums[c], w, S::quad(x + 4 * c));
}

// Each format of spans multiplies 32 inputs of the rows at `byte`, without the scale: weights that are kOffset too large.
struct SpanQ40 {
    using Panel = PanelQ4;
    template <class S> static constexpr int kOffset = 8;
    template <class S, int nc>
    static CORRAL_INLINE void multiply(typename S::Floats (&v)[nc], const Panel & w, int byte, const int8_t * x) {
        static_assert(S::template run<15>() >= 8);
        alignas(16) static constexpr uint8_t ones[kRows] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
        typename S::Sums sums[nc];
        CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::no_sums();
        CORRAL_UNROLL for (int t = 0; t < 4; t++) {
            const auto q = S::load(w.q[t] + byte);
            const auto low = S::low_nibbles(q), high = S::high_nibbles(q);
            CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::dot(sums[c], low, S::quad(x + (t * nc + c) * 4));
            CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::dot(sums[c], high, S::quad(x + ((t + 4) * nc + c) * 4));
        }
        const auto one = S::scale_u8(ones);
        CORRAL_UNROLL for (int c = 0; c < nc; c++) v[c] = S::floats(S::scaled(S::no_part(), sums[c], one));
    }
};

struct SpanIQ4 {  // a span of IQ4_NL or of IQ4_XS
    using Panel = PanelQ4;
    template <class S> static constexpr int kOffset = S::kOffset;
    template <class S, int nc>
    static CORRAL_INLINE void multiply(typename S::Floats (&v)[nc], const Panel & w, int byte, const int8_t * x) {
        typename S::Wide sums[nc];
        CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::all_wide(0);
        CORRAL_UNROLL for (int t = 0; t < 4; t++) {
            const auto q = S::load(w.q[t] + byte);
            add_signed<S, nc>(sums, S::lookup(S::low_nibbles(q), kLevels), x + t * nc * 4);
            add_signed<S, nc>(sums, S::lookup(S::high_nibbles(q), kLevels), x + (t + 4) * nc * 4);
        }
        CORRAL_UNROLL for (int c = 0; c < nc; c++) v[c] = S::floats_of_wide(sums[c]);
    }
};

struct SpanQ80 {
    using Panel = PanelQ8;
    template <class S> static constexpr int kOffset = S::kOffset;
    template <class S, int nc>
    static CORRAL_INLINE void multiply(typename S::Floats (&v)[nc], const Panel & w, int byte, const int8_t * x) {
        typename S::Wide sums[nc];
        CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = S::all_wide(0);
        CORRAL_UNROLL for (int t = 0; t < 8; t++) add_signed<S, nc>(sums, S::load(w.q[t] + byte), x + t * nc * 4);
        CORRAL_UNROLL for (int c = 0; c < nc; c++) v[c] = S::floats_of_wide(sums[c]);
    }
};

// What an offset of 1 adds to a span's sum in each column: the sum of its activations.
template <int nc> struct Offsets {
    float sums[nc];
    CORRAL_INLINE Offsets(const int16_t * runs, int step) {
        CORRAL_UNROLL for (int c = 0; c < nc; c++) sums[c] = float(runs[c * step]);
    }
    template <int offset, class S> CORRAL_INLINE typename S::Floats taken_off(typename S::Floats v, int c) const {
        if constexpr (offset == 0) return v;
        else return S::minus_product(v, S::all(sums[c]), S::all(float(offset)));
    }
};

template <class S, class Span, int nc>
void multiply_spans(const char * panel, const char * scales, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    const auto * w = (const typename Span::Panel *) panel;
    typename S::Floats total[kRows / S::kLanes][nc];
    clear_totals<S, nc>(total);
    for (int64_t b = 0; b < n_blocks; b++, w++, scales += 2 * kRows) {
        ahead<S, sizeof *w / 64, nc>(w);
        const Offsets<nc> offsets(tile.sums + b * nc, 1);
        for (int h = 0; h < kRows / S::kLanes; h++) {
            const int row = h * S::kLanes;
            const auto * x = tile.q + b * kSpan * nc;
            CORRAL_OPAQUE(x);
            typename S::Floats v[nc];
            Span::template multiply<S, nc>(v, *w, 4 * row, x);
            const auto d = S::halves(scales + 2 * row);
            CORRAL_UNROLL for (int c = 0; c < nc; c++) {
                const auto sum = offsets.template taken_off<Span::template kOffset<S>, S>(v[c], c);
                total[h][c] = S::plus_product(total[h][c], S::product(sum, d), S::all(tile.d[b * nc + c]));
            }
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
                if (h == 0) ahead<S, 4, nc>(w->spans + s);
                const Offsets<nc> offsets(tile.sums + (b * 8 + s / 2 * 2) * nc + s % 2, 2);
                typename S::Floats v[nc];
                SpanIQ4::multiply<S, nc>(v, w->spans[s], 4 * row, tile.q + (b * kBlock + s * kSpan) * nc);
                const auto scale = S::scale_s8(scales + s * kRows + row);
                CORRAL_UNROLL for (int c = 0; c < nc; c++)
                    part[c] = S::plus_product(part[c], offsets.template taken_off<SpanIQ4::kOffset<S>, S>(v[c], c), scale);
            }
            const auto v = S::halves(d + 2 * row);
            CORRAL_UNROLL for (int c = 0; c < nc; c++) total[h][c] = S::plus_product(total[h][c], S::product(part[c], v), S::all(tile.d[b * nc + c]));
        }
    }
    store_totals<S, nc>(total, out, stride);
}

template <class S, int nc> struct IQ4XS { static constexpr Kernel multiply = multiply_iq4xs<S, nc>; };
template <class S, int nc> struct Q40 { static constexpr Kernel multiply = multiply_spans<S, SpanQ40, nc>; };
template <class S, int nc> struct IQ4NL { static constexpr Kernel multiply = multiply_spans<S, SpanIQ4, nc>; };
template <class S, int nc> struct Q80 { static constexpr Kernel multiply = multiply_spans<S, SpanQ80, nc>; };

}  // namespace
}  // namespace corral
