// The kernels of all formats for processors that multiply small matrices of bytes, written once over a unit `M`.
//
// M::Vocabulary is the vocabulary for all but the products of bytes. A run of inputs is unpacked to bytes, quad by quad as
// a panel has them, and M multiplies it with all columns at once. Sums are whole numbers, and all else is as in
// panel_kernels.h and span_kernels.h: a product is the same, bit for bit. One column alone goes
// to the kernels there.
#pragma once
#include "sets/instruction_set.h"

namespace corral {
namespace {

// The activations of the run that begins at input i of a tile whose columns lie by M::kTogether inputs.
template <class M, int nc> CORRAL_INLINE const int8_t * run_at(const int8_t * q, int64_t i) {
    return q + i / M::kTogether * M::kTogether * nc + i % M::kTogether;
}

template <class S, class Panel, bool has_fifth> struct SpanK {  // 32 inputs of Q4_K or Q5_K
    template <int t> static CORRAL_INLINE void unpack(const Panel & w, int j, int byte, typename S::Bytes * quads) {
        const auto v = S::load(w.q[j][t] + byte);
        quads[t] = S::low_nibbles(v);
        quads[t + 4] = S::high_nibbles(v);
        if constexpr (has_fifth) {
            const auto fifth = S::load(w.q[j][4] + byte);
            quads[t] = S::template joined<4 - t, 0x10>(quads[t], fifth);
            quads[t + 4] = S::template joined<-t, 0x10>(quads[t + 4], fifth);
        }
    }
    static CORRAL_INLINE void unpack(const Panel & w, int j, int byte, typename S::Bytes * quads) {
        unpack<0>(w, j, byte, quads);
        unpack<1>(w, j, byte, quads);
        unpack<2>(w, j, byte, quads);
        unpack<3>(w, j, byte, quads);
    }
};

template <class M, class Panel, bool has_fifth, int nc>
void multiply_k_as_matrix(const char * panel, const char *, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    using S = typename M::Vocabulary;
    [[maybe_unused]] const typename M::template Setup<nc> setup;
    const auto * w = (const Panel *) panel;
    typename S::Floats total[kRows / S::kLanes][nc];
    clear_totals<S, nc>(total);
    for (int64_t b = 0; b < n_blocks; b++, w++) {
        alignas(64) uint8_t scales[256];
        decode<S>(w->scales, scales);
        for (int h = 0; h < kRows / S::kLanes; h++) {
            const int byte = h * S::kLanes * 4, row = h * S::kLanes;
            typename S::Part part[nc];
            CORRAL_UNROLL for (int c = 0; c < nc; c++) part[c] = S::no_part();
            for (int j = 0; j < 8; j++) {
                typename S::Bytes quads[8];
                SpanK<S, Panel, has_fifth>::unpack(*w, j, byte, quads);
                typename S::Sums sums[nc];
                M::template multiply<8, nc>(quads, run_at<M, nc>(tile.q, b * kBlock + j * 32), sums);
                const auto s = S::scale_u8(scales + 16 * j + row);
                CORRAL_UNROLL for (int c = 0; c < nc; c++) part[c] = S::scaled(part[c], sums[c], s);
            }
            add_block_k<S, nc>(total[h], part, FactorsOfK<S>(scales, *w, row), tile.sums + b * 8 * nc, tile.d + b * nc);
        }
    }
    store_totals<S, nc>(total, out, stride);
}

template <class M, int nc>
void multiply_q6k_as_matrix(const char * panel, const char * scales, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    using S = typename M::Vocabulary;
    [[maybe_unused]] const typename M::template Setup<nc> setup;
    const auto * w = (const PanelQ6K *) panel;
    typename S::Floats total[kRows / S::kLanes][nc];
    clear_totals<S, nc>(total);
    for (int64_t b = 0; b < n_blocks; b++, w++, scales += 2 * kRows)
        for (int h = 0; h < kRows / S::kLanes; h++) {
            const int byte = h * S::kLanes * 4, row = h * S::kLanes;
            typename S::Part part[nc];
            CORRAL_UNROLL for (int c = 0; c < nc; c++) part[c] = S::no_part();
            for (int j = 0; j < 16; j++) {
                const auto v0 = S::load(w->q[j][0] + byte), v1 = S::load(w->q[j][1] + byte), u = S::load(w->q[j][2] + byte);
                const typename S::Bytes quads[4] = {
                    S::template joined<4, 0x30>(S::low_nibbles(v0), u), S::template joined<2, 0x30>(S::low_nibbles(v1), u),
                    S::template joined<0, 0x30>(S::high_nibbles(v0), u), S::template joined<-2, 0x30>(S::high_nibbles(v1), u) };
                typename S::Sums sums[nc];
                M::template multiply<4, nc>(quads, run_at<M, nc>(tile.q, b * kBlock + j * 16), sums);
                const auto * pairs = w->scales[j / 2][row];
                const auto s = j % 2 == 0 ? S::template scale_of_pairs<0>(pairs) : S::template scale_of_pairs<1>(pairs);
                CORRAL_UNROLL for (int c = 0; c < nc; c++) part[c] = S::scaled(part[c], sums[c], s);
            }
            add_block_q6k<S, nc>(total[h], part, *w, scales, row, tile.sums + b * 16 * nc, tile.d + b * nc);
        }
    store_totals<S, nc>(total, out, stride);
}

// 32 inputs of formats whose nibbles stand for levels, and of Q8_0.
template <class S> CORRAL_INLINE void unpack_levels(const PanelQ4 & w, int byte, const int8_t * levels, typename S::Bytes * quads) {
    for (int t = 0; t < 4; t++) {
        const auto v = S::load(w.q[t] + byte);
        quads[t] = S::lookup(S::low_nibbles(v), levels);
        quads[t + 4] = S::lookup(S::high_nibbles(v), levels);
    }
}

alignas(16) constexpr int8_t kLevelsQ40[16] = { -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7 };

template <const int8_t * levels> struct LevelSpan {
    using Panel = PanelQ4;
    template <class S> static CORRAL_INLINE void unpack(const Panel & w, int byte, typename S::Bytes * quads) { unpack_levels<S>(w, byte, levels, quads); }
};
struct ByteSpan {
    using Panel = PanelQ8;
    template <class S> static CORRAL_INLINE void unpack(const Panel & w, int byte, typename S::Bytes * quads) {
        for (int t = 0; t < 8; t++) quads[t] = S::load(w.q[t] + byte);
    }
};

template <class M, class Span, int nc>
void multiply_spans_as_matrix(const char * panel, const char * scales, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    using S = typename M::Vocabulary;
    [[maybe_unused]] const typename M::template Setup<nc> setup;
    const auto * w = (const typename Span::Panel *) panel;
    typename S::Floats total[kRows / S::kLanes][nc];
    clear_totals<S, nc>(total);
    for (int64_t b = 0; b < n_blocks; b++, w++, scales += 2 * kRows)
        for (int h = 0; h < kRows / S::kLanes; h++) {
            const int row = h * S::kLanes;
            typename S::Bytes quads[8];
            Span::template unpack<S>(*w, 4 * row, quads);
            typename S::Sums sums[nc];
            M::template multiply<8, nc>(quads, run_at<M, nc>(tile.q, b * kSpan), sums);
            const auto d = S::halves(scales + 2 * row);
            CORRAL_UNROLL for (int c = 0; c < nc; c++)
                total[h][c] = S::plus_product(total[h][c], S::product(S::floats_of_wide(sums[c]), d), S::all(tile.d[b * nc + c]));
        }
    store_totals<S, nc>(total, out, stride);
}

template <class M, int nc>
void multiply_iq4xs_as_matrix(const char * panel, const char * d, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    using S = typename M::Vocabulary;
    [[maybe_unused]] const typename M::template Setup<nc> setup;
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
            for (int j = 0; j < 8; j++) {
                typename S::Bytes quads[8];
                unpack_levels<S>(w->spans[j], 4 * row, kLevels, quads);
                typename S::Sums sums[nc];
                M::template multiply<8, nc>(quads, run_at<M, nc>(tile.q, b * kBlock + j * kSpan), sums);
                const auto scale = S::scale_s8(scales + j * kRows + row);
                CORRAL_UNROLL for (int c = 0; c < nc; c++) part[c] = S::plus_product(part[c], S::floats_of_wide(sums[c]), scale);
            }
            const auto v = S::halves(d + 2 * row);
            CORRAL_UNROLL for (int c = 0; c < nc; c++) total[h][c] = S::plus_product(total[h][c], S::product(part[c], v), S::all(tile.d[b * nc + c]));
        }
    }
    store_totals<S, nc>(total, out, stride);
}

template <class M, int nc> struct Q4KAsMatrix { static constexpr Kernel multiply = multiply_k_as_matrix<M, PanelQ4K, false, nc>; };
template <class M, int nc> struct Q5KAsMatrix { static constexpr Kernel multiply = multiply_k_as_matrix<M, PanelQ5K, true, nc>; };
template <class M, int nc> struct Q6KAsMatrix { static constexpr Kernel multiply = multiply_q6k_as_matrix<M, nc>; };
template <class M, int nc> struct IQ4XSAsMatrix { static constexpr Kernel multiply = multiply_iq4xs_as_matrix<M, nc>; };
template <class M, int nc> struct Q40AsMatrix { static constexpr Kernel multiply = multiply_spans_as_matrix<M, LevelSpan<kLevelsQ40>, nc>; };
template <class M, int nc> struct IQ4NLAsMatrix { static constexpr Kernel multiply = multiply_spans_as_matrix<M, LevelSpan<kLevels>, nc>; };
template <class M, int nc> struct Q80AsMatrix { static constexpr Kernel multiply = multiply_spans_as_matrix<M, ByteSpan, nc>; };

template <class M, template <class, int> class Family, int... n>
constexpr void fill_beyond_first(Kernel * row, std::integer_sequence<int, n...>) {
    ((row[n + 2] = Family<M, n + 2>::multiply), ...);
}

template <class M> constexpr InstructionSet matrix_set(const char * name) {
    using S = typename M::Vocabulary;
    InstructionSet set = instruction_set<S>(name);
    set.quantize = quantize_group<M::kTogether>;
    const auto columns = std::make_integer_sequence<int, S::kColumns - 1>{};
    fill_beyond_first<M, Q4KAsMatrix>(set.kernels[kQ4K], columns);
    fill_beyond_first<M, Q5KAsMatrix>(set.kernels[kQ5K], columns);
    fill_beyond_first<M, Q6KAsMatrix>(set.kernels[kQ6K], columns);
    fill_beyond_first<M, IQ4XSAsMatrix>(set.kernels[kIQ4XS], columns);
    fill_beyond_first<M, Q40AsMatrix>(set.kernels[kQ40], columns);
    fill_beyond_first<M, IQ4NLAsMatrix>(set.kernels[kIQ4NL], columns);
    fill_beyond_first<M, Q80AsMatrix>(set.kernels[kQ80], columns);
    return set;
}

}  // namespace
}  // namespace corral
