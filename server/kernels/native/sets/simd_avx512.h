// The kernels' vocabulary in AVX512 with VNNI: a panel's 16 rows are one register.
//
// Products of bytes are summed in 32 bits, so no run of quads is too long; scales are floats.
#pragma once
#include <cstdint>
#if defined(__GNUC__) && !defined(__clang__)  // GCC 12's own header sets it off
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

namespace corral {
namespace {  // as the kernels: each translation unit has its own copy

struct Avx512 {
    static constexpr int kLanes = 16;
    static constexpr int kColumns = 8;
    static constexpr int kAheadFrom = 5;  // columns; measured on Zen 4: its own prefetcher is better up to 4
    static constexpr bool kWholeParts = false;
    static constexpr int kOffset = 128;  // signed weights are multiplied as unsigned ones, this much larger
    using Bytes = __m512i;   // 16 rows of 4 bytes
    using Signed = __m512i;
    using Sums = __m512i;
    using Wide = __m512i;
    using Scale = __m512;
    using Part = __m512;     // scaled sums of a block
    using Ints = __m512i;
    using Floats = __m512;

    template <int most> static constexpr int run() { return 64; }

    static Bytes load(const void * p) { return _mm512_loadu_si512(p); }
    static void store(void * p, Bytes v) { _mm512_storeu_si512(p, v); }
    static Bytes quad(const void * p) { return _mm512_set1_epi32(*(const int32_t *) p); }
    static Bytes low_nibbles(Bytes v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
    static Bytes high_nibbles(Bytes v) { return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15)); }
    // Bits of v moved up by `bits` (down if negative), those in `mask`, beside what is in `low`.
    template <int bits, int mask> static Bytes joined(Bytes low, Bytes v) {
        constexpr int kOrOfAnd = 0xf8;  // first | (second & third)
        Bytes moved = v;
        if constexpr (bits > 0) moved = _mm512_slli_epi16(v, bits);
        if constexpr (bits < 0) moved = _mm512_srli_epi16(v, -bits);
        return _mm512_ternarylogic_epi32(low, moved, _mm512_set1_epi8(char(mask)), kOrOfAnd);
    }

    static Sums no_sums() { return _mm512_setzero_si512(); }
    static Sums dot(Sums sums, Bytes w, Bytes a) { return _mm512_dpbusd_epi32(sums, w, a); }

    static Bytes lookup(Bytes nibbles, const int8_t * table16) {
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *) table16)), nibbles);
    }
    static Signed signed_weights(Bytes w) { return _mm512_xor_si512(w, _mm512_set1_epi8(char(0x80))); }
    static Wide all_wide(int v) { return _mm512_set1_epi32(v); }
    static Wide dot_signed(Wide sums, Signed w, Bytes a) { return _mm512_dpbusd_epi32(sums, w, a); }
    static Floats floats_of_wide(Wide v) { return _mm512_cvtepi32_ps(v); }

    static Scale scale_u8(const uint8_t * p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *) p))); }
    static Scale scale_s8(const int8_t * p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) p))); }
    // The first or second of pairs of signed bytes.
    template <int which> static Scale scale_of_pairs(const int8_t * p) {
        const __m512i both = _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *) p));
        return _mm512_cvtepi32_ps(_mm512_srai_epi32(which ? both : _mm512_slli_epi32(both, 24), which ? 8 : 24));
    }

    static Part no_part() { return _mm512_setzero_ps(); }
    static Part scaled(Part part, Sums sums, Scale s) { return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), s, part); }
    static Floats floats(Part part) { return part; }

    static Ints no_ints() { return _mm512_setzero_si512(); }
    static Ints pairs_u8(const uint8_t * p) { return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *) p)); }
    static Ints pairs_s8(const int8_t * p) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *) p)); }
    static Ints dot_pairs(Ints sums, Ints m, const int16_t * a) { return _mm512_dpwssd_epi32(sums, m, _mm512_set1_epi32(*(const int32_t *) a)); }
    static Floats floats_of_ints(Ints v) { return _mm512_cvtepi32_ps(v); }

    static Floats no_floats() { return _mm512_setzero_ps(); }
    static Floats all(float v) { return _mm512_set1_ps(v); }
    static Floats halves(const void * p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p)); }
    static Floats product(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
    static Floats plus_product(Floats sum, Floats a, Floats b) { return _mm512_fmadd_ps(a, b, sum); }
    static Floats minus_product(Floats sum, Floats a, Floats b) { return _mm512_fnmadd_ps(a, b, sum); }
    static void store_floats(float * p, Floats v) { _mm512_storeu_ps(p, v); }
};

}  // namespace
}  // namespace corral
