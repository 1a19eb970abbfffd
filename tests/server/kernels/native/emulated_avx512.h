// AVX512's instructions as the kernels call them, without a processor that has them. Included before all else.
//
// SIMDe's where it has them; Debian's 0.7.4 lacks some, which are written out here, lane by lane.
#pragma once
#include <immintrin.h>
#include <cstring>
#include <simde/x86/avx512.h>

namespace emulated {

// Widens lanes of type From in `v` to lanes of type To.
template <class From, class To, class V> inline simde__m512i widened(V v) {
    constexpr int n = 64 / sizeof(To);
    From from[n];
    To to[n];
    static_assert(sizeof from == sizeof v);
    memcpy(from, &v, sizeof v);
    for (int i = 0; i < n; i++) to[i] = from[i];
    simde__m512i result;
    memcpy(&result, to, sizeof result);
    return result;
}

inline simde__m512i shifted_right(simde__m512i v, int bits) {
    int32_t lanes[16];
    memcpy(lanes, &v, sizeof v);
    for (auto & lane : lanes) lane >>= bits;
    memcpy(&v, lanes, sizeof v);
    return v;
}

inline simde__m512 floats(simde__m512i v) {
    int32_t lanes[16];
    float to[16];
    memcpy(lanes, &v, sizeof v);
    for (int i = 0; i < 16; i++) to[i] = float(lanes[i]);
    simde__m512 result;
    memcpy(&result, to, sizeof result);
    return result;
}

inline simde__m512 floats_of_halves(__m256i v) {
    const __m256 to[2] = { _mm256_cvtph_ps(_mm256_castsi256_si128(v)), _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1)) };
    simde__m512 result;
    memcpy(&result, to, sizeof result);
    return result;
}

// Floats as whole numbers, to the nearest.
inline simde__m512i whole_numbers(simde__m512 v) {
    float from[16];
    int32_t to[16];
    memcpy(from, &v, sizeof v);
    for (int i = 0; i < 16; i++) to[i] = int32_t(__builtin_rintf(from[i]));
    simde__m512i result;
    memcpy(&result, to, sizeof result);
    return result;
}

}  // namespace emulated

#define __m512 simde__m512
#define __m512i simde__m512i
#undef _mm512_add_epi32
#define _mm512_add_epi32 simde_mm512_add_epi32
#undef _mm512_add_ps
#define _mm512_add_ps simde_mm512_add_ps
#undef _mm512_and_si512
#define _mm512_and_si512 simde_mm512_and_si512
#undef _mm512_broadcast_i32x4
#define _mm512_broadcast_i32x4 simde_mm512_broadcast_i32x4
#undef _mm512_castps_si512
#define _mm512_castps_si512 simde_mm512_castps_si512
#undef _mm512_castps512_ps128
#define _mm512_castps512_ps128 simde_mm512_castps512_ps128
#undef _mm512_castsi512_ps
#define _mm512_castsi512_ps simde_mm512_castsi512_ps
#undef _mm512_cmp_ps_mask
#define _mm512_cmp_ps_mask simde_mm512_cmp_ps_mask
#undef _mm512_cvtepi16_epi32
#define _mm512_cvtepi16_epi32 emulated::widened<int16_t, int32_t>
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps emulated::floats
#undef _mm512_cvtepi8_epi16
#define _mm512_cvtepi8_epi16 emulated::widened<int8_t, int16_t>
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32 emulated::widened<int8_t, int32_t>
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32 emulated::widened<uint16_t, int32_t>
#undef _mm512_cvtepu8_epi16
#define _mm512_cvtepu8_epi16 emulated::widened<uint8_t, int16_t>
#undef _mm512_cvtepu8_epi32
#define _mm512_cvtepu8_epi32 emulated::widened<uint8_t, int32_t>
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps emulated::floats_of_halves
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32 emulated::whole_numbers
#undef _mm512_div_ps
#define _mm512_div_ps simde_mm512_div_ps
#undef _mm512_dpbusd_epi32
#define _mm512_dpbusd_epi32 simde_mm512_dpbusd_epi32
#undef _mm512_dpwssd_epi32
#define _mm512_dpwssd_epi32 simde_mm512_dpwssd_epi32
#undef _mm512_extractf32x4_ps
#define _mm512_extractf32x4_ps simde_mm512_extractf32x4_ps
#undef _mm512_fmadd_ps
#define _mm512_fmadd_ps simde_mm512_fmadd_ps
#undef _mm512_fnmadd_ps
#define _mm512_fnmadd_ps simde_mm512_fnmadd_ps
#undef _mm512_loadu_ps
#define _mm512_loadu_ps simde_mm512_loadu_ps
#undef _mm512_loadu_si512
#define _mm512_loadu_si512 simde_mm512_loadu_si512
#undef _mm512_mask_blend_ps
#define _mm512_mask_blend_ps simde_mm512_mask_blend_ps
#undef _mm512_max_ps
#define _mm512_max_ps simde_mm512_max_ps
#undef _mm512_min_ps
#define _mm512_min_ps simde_mm512_min_ps
#undef _mm512_mul_ps
#define _mm512_mul_ps simde_mm512_mul_ps
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps simde_mm512_roundscale_ps
#undef _mm512_set1_epi32
#define _mm512_set1_epi32 simde_mm512_set1_epi32
#undef _mm512_set1_epi8
#define _mm512_set1_epi8 simde_mm512_set1_epi8
#undef _mm512_set1_ps
#define _mm512_set1_ps simde_mm512_set1_ps
#undef _mm512_setzero_ps
#define _mm512_setzero_ps simde_mm512_setzero_ps
#undef _mm512_setzero_si512
#define _mm512_setzero_si512 simde_mm512_setzero_si512
#undef _mm512_shuffle_epi8
#define _mm512_shuffle_epi8 simde_mm512_shuffle_epi8
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4 simde_mm512_shuffle_f32x4
#undef _mm512_shuffle_ps
#define _mm512_shuffle_ps simde_mm512_shuffle_ps
#undef _mm512_slli_epi16
#define _mm512_slli_epi16 simde_mm512_slli_epi16
#undef _mm512_slli_epi32
#define _mm512_slli_epi32 simde_mm512_slli_epi32
#undef _mm512_srai_epi32
#define _mm512_srai_epi32 emulated::shifted_right
#undef _mm512_srli_epi16
#define _mm512_srli_epi16 simde_mm512_srli_epi16
#undef _mm512_storeu_ps
#define _mm512_storeu_ps simde_mm512_storeu_ps
#undef _mm512_storeu_si512
#define _mm512_storeu_si512 simde_mm512_storeu_si512
#undef _mm512_sub_ps
#define _mm512_sub_ps simde_mm512_sub_ps
#undef _mm512_ternarylogic_epi32
#define _mm512_ternarylogic_epi32 simde_mm512_ternarylogic_epi32
#undef _mm512_test_epi16_mask
#define _mm512_test_epi16_mask simde_mm512_test_epi16_mask
#undef _mm512_unpackhi_ps
#define _mm512_unpackhi_ps simde_mm512_unpackhi_ps
#undef _mm512_unpacklo_ps
#define _mm512_unpacklo_ps simde_mm512_unpacklo_ps
#undef _mm512_xor_si512
#define _mm512_xor_si512 simde_mm512_xor_si512
