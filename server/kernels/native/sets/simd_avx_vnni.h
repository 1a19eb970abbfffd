// The kernels' vocabulary in AVX-VNNI: AVX2's registers, with products of bytes summed in 32 bits.
#pragma once
#include "sets/simd_avx2.h"

namespace corral {
namespace {

struct AvxVnni : Avx2 {
    static constexpr bool kWholeParts = false;
    static constexpr int kOffset = 128;  // signed weights are multiplied as unsigned ones, this much larger
    using Signed = __m256i;
    using Wide = __m256i;
    using Scale = __m256;
    using Part = __m256;

    template <int most> static constexpr int run() { return 64; }

    static Sums dot(Sums sums, Bytes w, Bytes a) { return _mm256_dpbusd_avx_epi32(sums, w, a); }

    static Signed signed_weights(Bytes w) { return _mm256_xor_si256(w, _mm256_set1_epi8(char(0x80))); }
    static Wide all_wide(int v) { return _mm256_set1_epi32(v); }
    static Wide dot_signed(Wide sums, Signed w, Bytes a) { return _mm256_dpbusd_avx_epi32(sums, w, a); }
    static Floats floats_of_wide(Wide v) { return _mm256_cvtepi32_ps(v); }

    static Scale scale_u8(const uint8_t * p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *) p))); }
    // The first or second of pairs of signed bytes.
    template <int which> static Scale scale_of_pairs(const int8_t * p) {
        const __m256i both = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *) p));
        return _mm256_cvtepi32_ps(_mm256_srai_epi32(which ? both : _mm256_slli_epi32(both, 24), which ? 8 : 24));
    }

    static Part no_part() { return _mm256_setzero_ps(); }
    static Part scaled(Part part, Sums sums, Scale s) { return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), s, part); }
    static Floats floats(Part part) { return part; }

    static Ints dot_pairs(Ints sums, Ints m, const int16_t * a) { return _mm256_dpwssd_avx_epi32(sums, m, _mm256_set1_epi32(*(const int32_t *) a)); }
};

}  // namespace
}  // namespace corral
