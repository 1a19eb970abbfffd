// The kernels of all formats, written once over the vocabulary `S` of an instruction set.
//
// Each instruction set includes this in a translation unit of its own with its own flags. The product of a column
// is computed by the same operations in the same order however many columns lie beside it.
#pragma once
#include <cstring>
#include <utility>
#include "panels.h"
#include "products/quantizer.h"

#define CORRAL_UNROLL _Pragma("GCC unroll 16")
#define CORRAL_UNROLL_4 _Pragma("GCC unroll 4")
// Hides where a pointer comes from, so that GCC doesn't load all that is read through it before a loop and spill it.
#define CORRAL_OPAQUE(pointer) asm("" : "+r"(pointer))

namespace corral {
namespace {  // each translation unit has its own copy, compiled with its own flags

// Fetches `lines` cache lines 4 KiB ahead, from as many columns on as the set says: with fewer its hardware does better.
template <class S, int lines, int nc> inline void ahead(const void * p) {
    if constexpr (nc >= S::kAheadFrom)
        for (int i = 0; i < lines; i++) __builtin_prefetch((const char *) p + 4096 + 64 * i);
}

// Decodes 6-bit scales and minimums: scale of span s, row r at [s * 16 + r]; minimums at 128 + [s / 2][r][s % 2].
template <class S> inline void decode(const Scales6 & from, uint8_t * to) {
    constexpr int bytes = S::kLanes * 4;
    for (int i = 0; i < 64; i += bytes) {
        const auto high = S::load(from.high + i), low0 = S::load(from.low + i), low1 = S::load(from.low + 64 + i);
        S::store(to + i, S::template joined<4, 0x30>(S::low_nibbles(low0), high));
        S::store(to + 64 + i, S::template joined<2, 0x30>(S::low_nibbles(low1), high));
        S::store(to + 128 + i, S::template joined<0, 0x30>(S::high_nibbles(low0), high));
        S::store(to + 192 + i, S::template joined<-2, 0x30>(S::high_nibbles(low1), high));
    }
}

template <class S, int nc> CORRAL_INLINE void clear_totals(typename S::Floats (&total)[kRows / S::kLanes][nc]) {
    for (int h = 0; h < kRows / S::kLanes; h++)
        CORRAL_UNROLL for (int c = 0; c < nc; c++) total[h][c] = S::no_floats();
}
template <class S, int nc> CORRAL_INLINE void store_totals(const typename S::Floats (&total)[kRows / S::kLanes][nc], float * out, size_t stride) {
    for (int h = 0; h < kRows / S::kLanes; h++)
        CORRAL_UNROLL for (int c = 0; c < nc; c++) S::store_floats(out + c * stride + h * S::kLanes, total[h][c]);
}

// What multiplies the sums of a block of Q4_K or Q5_K, for the rows of a register.
template <class S> struct FactorsOfK {
    decltype(S::pairs_u8(nullptr)) minimums[4];  // of pairs of spans
    typename S::Floats d, dmin;
    FactorsOfK() = default;
    template <class Panel> CORRAL_INLINE FactorsOfK(const uint8_t * scales, const Panel & w, int row) : d(S::halves(w.d + row)), dmin(S::halves(w.dmin + row)) {
        CORRAL_UNROLL for (int p = 0; p < 4; p++) minimums[p] = S::pairs_u8(scales + 128 + 32 * p + 2 * row);
    }
};

// Adds a block of Q4_K or Q5_K to the totals of the rows that the factors are of: the scaled sums, less the minimums.
template <class S, int nc>
CORRAL_INLINE void add_block_k(typename S::Floats (&total)[nc], const typename S::Part (&part)[nc], const FactorsOfK<S> & w, const int16_t * sums, const float * ad) {
    CORRAL_OPAQUE(sums);
    typename S::Ints low[nc];
    CORRAL_UNROLL for (int c = 0; c < nc; c++) low[c] = S::no_ints();
    CORRAL_UNROLL for (int p = 0; p < 4; p++)
        CORRAL_UNROLL for (int c = 0; c < nc; c++) low[c] = S::dot_pairs(low[c], w.minimums[p], sums + (p * nc + c) * 2);
    CORRAL_UNROLL for (int c = 0; c < nc; c++) {
        const auto v = S::minus_product(S::product(S::floats(part[c]), w.d), S::floats_of_ints(low[c]), w.dmin);
        total[c] = S::plus_product(total[c], v, S::all(ad[c]));
    }
}

// The scaled sums less 32 times `low`. Whole numbers stay whole until the end.
template <class S> CORRAL_INLINE typename S::Floats floats_less_32(typename S::Part part, typename S::Ints low) {
    if constexpr (S::kWholeParts) return S::floats(S::less_32(part, low));
    else return S::minus_product(part, S::floats_of_ints(low), S::all(32.0f));
}

// Adds a block of Q6_K to the totals of rows `row` and on: the scaled sums, less what the weights' offset made of them.
template <class S, int nc>
CORRAL_INLINE void add_block_q6k(typename S::Floats (&total)[nc], const typename S::Part (&part)[nc], const PanelQ6K & w, const char * scales, int row,
                                 const int16_t * sums, const float * ad) {
    CORRAL_OPAQUE(sums);
    typename S::Ints low[nc];
    CORRAL_UNROLL for (int c = 0; c < nc; c++) low[c] = S::no_ints();
    CORRAL_UNROLL for (int p = 0; p < 8; p++) {
        const auto m = S::pairs_s8(w.scales[p][row]);
        CORRAL_UNROLL for (int c = 0; c < nc; c++) low[c] = S::dot_pairs(low[c], m, sums + (p * nc + c) * 2);
    }
    const auto d = S::halves(scales + 2 * row);
    CORRAL_UNROLL for (int c = 0; c < nc; c++)
        total[c] = S::plus_product(total[c], S::product(floats_less_32<S>(part[c], low[c]), d), S::all(ad[c]));
}

// Q4_K and Q5_K: unsigned weights, 8 spans of 32 with a scale and a minimum each.
template <class S, class Panel, int most, int nc>
void multiply_k(const char * panel, const char *, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    constexpr bool has_fifth = most > 15;
    constexpr int run = S::template run<most>() < 8 ? S::template run<most>() : 8;
    static_assert(run % 2 == 0 && 8 % run == 0);
    const auto * w = (const Panel *) panel;
    typename S::Floats total[kRows / S::kLanes][nc];
    clear_totals<S, nc>(total);
    const auto * aq = tile.q;
    const auto * sums = tile.sums;
    const auto * ad = tile.d;
    for (int64_t b = 0; b < n_blocks; b++, w++, aq += kBlock * nc, sums += 8 * nc, ad += nc) {
        alignas(64) uint8_t scales[256];
        decode<S>(w->scales, scales);
        for (int h = 0; h < kRows / S::kLanes; h++) {
            const int byte = h * S::kLanes * 4, row = h * S::kLanes;
            typename S::Part part[nc];
            CORRAL_UNROLL for (int c = 0; c < nc; c++) part[c] = S::no_part();
            for (int j = 0; j < 8; j++) {
                const auto * x = aq + j * 32 * nc;
                if (h == 0) ahead<S, 4 + has_fifth, nc>(w->q[j]);
                const auto s = S::scale_u8(scales + 16 * j + row);
                typename S::Bytes fifth;
                if constexpr (has_fifth) fifth = S::load(w->q[j][4] + byte);
                typename S::Sums acc[nc];
                auto quads = [&](auto t) {
                    constexpr int T = decltype(t)::value;
                    if constexpr (T * 2 % run == 0)
                        CORRAL_UNROLL for (int c = 0; c < nc; c++) acc[c] = S::no_sums();
                    const auto v = S::load(w->q[j][T] + byte);
                    auto low = S::low_nibbles(v), high = S::high_nibbles(v);
                    if constexpr (has_fifth) {
                        low = S::template joined<4 - T, 0x10>(low, fifth);
                        high = S::template joined<-T, 0x10>(high, fifth);
                    }
                    CORRAL_UNROLL for (int c = 0; c < nc; c++) acc[c] = S::dot(acc[c], low, S::quad(x + (T * nc + c) * 4));
                    CORRAL_UNROLL for (int c = 0; c < nc; c++) acc[c] = S::dot(acc[c], high, S::quad(x + ((T + 4) * nc + c) * 4));
                    if constexpr ((T + 1) * 2 % run == 0)
                        CORRAL_UNROLL for (int c = 0; c < nc; c++) part[c] = S::scaled(part[c], acc[c], s);
                };
                quads(std::integral_constant<int, 0>{});
                quads(std::integral_constant<int, 1>{});
                quads(std::integral_constant<int, 2>{});
                quads(std::integral_constant<int, 3>{});
            }
            add_block_k<S, nc>(total[h], part, FactorsOfK<S>(scales, *w, row), sums, ad);
        }
    }
    store_totals<S, nc>(total, out, stride);
}

// Q6_K: weights minus 32, 16 runs of 16 with a signed scale each.
template <class S, int nc>
void multiply_q6k(const char * panel, const char * scales, int64_t n_blocks, const Tile & tile, float * out, size_t stride) {
    constexpr int run = S::template run<63>() < 4 ? S::template run<63>() : 4;
    static_assert(4 % run == 0);
    const auto * w = (const PanelQ6K *) panel;
    typename S::Floats total[kRows / S::kLanes][nc];
    clear_totals<S, nc>(total);
    const auto * aq = tile.q;
    const auto * sums = tile.sums;
    const auto * ad = tile.d;
    for (int64_t b = 0; b < n_blocks; b++, w++, scales += 2 * kRows, aq += kBlock * nc, sums += 16 * nc, ad += nc) {
        for (int h = 0; h < kRows / S::kLanes; h++) {
            const int byte = h * S::kLanes * 4, row = h * S::kLanes;
            typename S::Part part[nc];
            CORRAL_UNROLL for (int c = 0; c < nc; c++) part[c] = S::no_part();
            auto sixteen = [&](int j, auto s) {
                const auto * x = aq + j * 16 * nc;
                if (h == 0) ahead<S, 3, nc>(w->q[j]);
                const auto v0 = S::load(w->q[j][0] + byte), v1 = S::load(w->q[j][1] + byte), u = S::load(w->q[j][2] + byte);
                auto runs = [&](auto first) {
                    constexpr int t = decltype(first)::value;
                    typename S::Bytes q[run];
                    if constexpr (t == 0) q[0] = S::template joined<4, 0x30>(S::low_nibbles(v0), u);
                    if constexpr (t <= 1 && t + run > 1) q[1 - t] = S::template joined<2, 0x30>(S::low_nibbles(v1), u);
                    if constexpr (t <= 2 && t + run > 2) q[2 - t] = S::template joined<0, 0x30>(S::high_nibbles(v0), u);
                    if constexpr (t + run > 3) q[3 - t] = S::template joined<-2, 0x30>(S::high_nibbles(v1), u);
                    CORRAL_UNROLL for (int c = 0; c < nc; c++) {
                        auto acc = S::no_sums();
                        CORRAL_UNROLL for (int i = 0; i < run; i++) acc = S::dot(acc, q[i], S::quad(x + ((t + i) * nc + c) * 4));
                        part[c] = S::scaled(part[c], acc, s);
                    }
                };
                runs(std::integral_constant<int, 0>{});
                if constexpr (run < 4) runs(std::integral_constant<int, 2>{});
                static_assert(run == 2 || run == 4);
            };
            for (int j = 0; j < 16; j += 2) {
                const auto * pairs = w->scales[j / 2][row];
                sixteen(j, S::template scale_of_pairs<0>(pairs));
                sixteen(j + 1, S::template scale_of_pairs<1>(pairs));
            }
            add_block_q6k<S, nc>(total[h], part, *w, scales, row, sums, ad);
        }
    }
    store_totals<S, nc>(total, out, stride);
}

template <class S, int nc> struct Q4K { static constexpr Kernel multiply = multiply_k<S, PanelQ4K, 15, nc>; };
template <class S, int nc> struct Q5K { static constexpr Kernel multiply = multiply_k<S, PanelQ5K, 31, nc>; };
template <class S, int nc> struct Q6K { static constexpr Kernel multiply = multiply_q6k<S, nc>; };

}  // namespace
}  // namespace corral
