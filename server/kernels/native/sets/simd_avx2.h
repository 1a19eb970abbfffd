// The kernels' vocabulary in AVX2: a panel's 16 rows are two registers of 8.
//
// Bytes are multiplied into sums of 16 bits, which hold as many quads as their weights' size allows; the scale
// is then applied while pairs of these sums are added into 32 bits.
#pragma once
#include <cstdint>
#include <immintrin.h>

namespace corral {
namespace {  // as the kernels: each translation unit has its own copy

struct Avx2 {
    static constexpr int kLanes = 8;
    static constexpr int kColumns = 8;
    static constexpr int kOffset = 0;
    static constexpr bool kWholeParts = true;  // the scaled sums of a block aren't floats yet
    static constexpr int kAheadFrom = 1;  // columns; measured on Zen 3, where one column reads 19 GB/s with it, 14 without
    using Bytes = __m256i;   // 8 rows of 4 bytes
    using Sums = __m256i;    // of a run of quads
    using Scale = __m256i;   // a 16-bit scale twice in each lane
    using Part = __m256i;    // scaled sums of a block
    using Ints = __m256i;
    using Floats = __m256;
    using Wide = __m256i;    // sums of 32 bits
    struct Signed {
        __m256i size, sign;
    };

    // So many quads of weights up to `most` can be added before `scaled`.
    template <int most> static constexpr int run() { return 32767 / (2 * most * 127); }

    static Bytes load(const void * p) { return _mm256_loadu_si256((const __m256i *) p); }
    static void store(void * p, Bytes v) { _mm256_storeu_si256((__m256i *) p, v); }
    static Bytes quad(const void * p) { return _mm256_set1_epi32(*(const int32_t *) p); }
    static Bytes low_nibbles(Bytes v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
    static Bytes high_nibbles(Bytes v) { return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15)); }
    // Bits of v moved up by `bits` (down if negative), those in `mask`, beside what is in `low`.
    template <int bits, int mask> static Bytes joined(Bytes low, Bytes v) {
        const Bytes moved = bits >= 0 ? _mm256_slli_epi16(v, bits >= 0 ? bits : 0) : _mm256_srli_epi16(v, bits < 0 ? -bits : 0);
        return _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(char(mask))));
    }

    static Sums no_sums() { return _mm256_setzero_si256(); }
    // The empty statement keeps GCC from reordering the additions, which holds all products at once, in memory.
    static Sums dot(Sums sums, Bytes w, Bytes a) {
        sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(w, a));
        asm("" : "+x"(sums));
        return sums;
    }

    static Bytes less_32(Bytes v) { return _mm256_sub_epi8(v, _mm256_set1_epi8(32)); }
    // What remains of sums after so many activations that are 128 too large. Sums go round at 2^16, as often as they may
    // before the end, where they are in range.
    static Sums less_128(Sums sums, Bytes signed_weights) { return _mm256_sub_epi16(sums, _mm256_maddubs_epi16(_mm256_set1_epi8(char(128)), signed_weights)); }

    static Bytes lookup(Bytes nibbles, const int8_t * table16) {
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *) table16)), nibbles);
    }
    // Products of bytes take one factor without a sign: the other gets it. IQ4_XS, whose weights must be
    // looked up, is faster with activations as sizes and signs.
    static Signed signed_weights(Bytes w) { return { _mm256_abs_epi8(w), w }; }
    static Wide all_wide(int v) { return _mm256_set1_epi32(v); }
    static Wide dot_signed(Wide sums, Signed w, Bytes a) {
        const __m256i pairs = _mm256_maddubs_epi16(w.size, _mm256_sign_epi8(a, w.sign));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
        asm("" : "+x"(sums));
        return sums;
    }
    static Floats floats_of_wide(Wide v) { return _mm256_cvtepi32_ps(v); }

    // The bytes of the first half, each beside that of the second half.
    static Bytes zipped(Bytes v) {
        return _mm256_shuffle_epi8(_mm256_permute4x64_epi64(v, 0xd8),
                                   _mm256_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    }
    // -1 - v where the sign is -1, else v.
    static Bytes inverted(Bytes v, Bytes signs) { return _mm256_xor_si256(v, signs); }
    // Pairs of products of sizes up to 127 with any weights fit 16 bits.
    static Part dot_sizes(Part sums, Bytes sizes, Bytes w, Scale scale) {
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(sizes, w), scale));
        asm("" : "+x"(sums));
        return sums;
    }

    static Scale scale_u8(const uint8_t * p) {
        const __m256i both = _mm256_set1_epi64x(*(const int64_t *) p);
        return _mm256_shuffle_epi8(both, _mm256_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7, -1));
    }
    static Scale scale_s8_twice(const int8_t * p) {
        const __m256i both = _mm256_set1_epi64x(*(const int64_t *) p);
        const __m256i high = _mm256_shuffle_epi8(both, _mm256_setr_epi8(-1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7));
        return _mm256_srai_epi16(high, 8);
    }
    static Floats scale_s8(const int8_t * p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *) p))); }
    // The first or second of pairs of signed bytes.
    template <int which> static Scale scale_of_pairs(const int8_t * p) {
        constexpr int w = which;
        const __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *) p));
        const __m256i high = _mm256_shuffle_epi8(both, _mm256_setr_epi8(-1, w, -1, w, -1, 2 + w, -1, 2 + w, -1, 4 + w, -1, 4 + w, -1, 6 + w, -1, 6 + w, -1, 8 + w, -1, 8 + w, -1, 10 + w, -1, 10 + w, -1, 12 + w, -1, 12 + w, -1, 14 + w, -1, 14 + w));
        return _mm256_srai_epi16(high, 8);
    }

    static Part no_part() { return _mm256_setzero_si256(); }
    static Part scaled(Part part, Sums sums, Scale s) { return _mm256_add_epi32(part, _mm256_madd_epi16(sums, s)); }
    static Floats floats(Part part) { return _mm256_cvtepi32_ps(part); }
    static Part less_32(Part part, Ints v) { return _mm256_sub_epi32(part, _mm256_slli_epi32(v, 5)); }

    static Ints no_ints() { return _mm256_setzero_si256(); }
    static Ints pairs_u8(const uint8_t * p) { return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *) p)); }
    static Ints pairs_s8(const int8_t * p) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) p)); }
    static Ints dot_pairs(Ints sums, Ints m, const int16_t * a) { return _mm256_add_epi32(sums, _mm256_madd_epi16(m, _mm256_set1_epi32(*(const int32_t *) a))); }
    static Floats floats_of_ints(Ints v) { return _mm256_cvtepi32_ps(v); }

    static Floats no_floats() { return _mm256_setzero_ps(); }
    static Floats all(float v) { return _mm256_set1_ps(v); }
    static Floats halves(const void * p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p)); }
    static Floats upper_halves(const void * p) {  // of floats
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *) p)), 16));
    }
    static Floats plus(Floats a, Floats b) { return _mm256_add_ps(a, b); }
    static Floats product(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
    static Floats plus_product(Floats sum, Floats a, Floats b) { return _mm256_fmadd_ps(a, b, sum); }
    static Floats minus_product(Floats sum, Floats a, Floats b) { return _mm256_fnmadd_ps(a, b, sum); }
    static Floats load_floats(const float * p) { return _mm256_loadu_ps(p); }
    static void store_floats(float * p, Floats v) { _mm256_storeu_ps(p, v); }
};

}  // namespace
}  // namespace corral
