// The vocabulary of the attention kernels in AVX2 with FMA and F16C: vectors of 8 floats.
#pragma once
#include <cstdint>
#include <cstring>
#include <immintrin.h>

namespace corral {
namespace {  // as the kernels: each translation unit has its own copy

struct Avx2Floats {
    static constexpr int kLanes = 8;
    static constexpr int kSums = 12;                              // registers of sums, beside those that are multiplied
    static constexpr int kRowVectors = 2;                         // of a panel of rows
    using Floats = __m256;

    static Floats load(const float * p) { return _mm256_loadu_ps(p); }
    static void store(float * p, Floats v) { _mm256_storeu_ps(p, v); }
    static Floats all(float v) { return _mm256_set1_ps(v); }
    static Floats zero() { return _mm256_setzero_ps(); }
    static Floats halves(const void * p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p)); }
    static Floats brain_halves(const void * p) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *) p)), 16));
    }
    static Floats all_half(const void * p) {
        uint16_t bits;
        memcpy(&bits, p, 2);
        return _mm256_cvtph_ps(_mm_set1_epi16(int16_t(bits)));
    }
    static Floats signed_bytes(const void * p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *) p))); }

    static Floats sum(Floats a, Floats b) { return _mm256_add_ps(a, b); }
    static Floats difference(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
    static Floats product(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
    static Floats quotient(Floats a, Floats b) { return _mm256_div_ps(a, b); }
    static Floats plus_product(Floats sum, Floats a, Floats b) { return _mm256_fmadd_ps(a, b, sum); }
    static Floats minus_product(Floats sum, Floats a, Floats b) { return _mm256_fnmadd_ps(a, b, sum); }
    static Floats larger(Floats a, Floats b) { return _mm256_max_ps(a, b); }
    static Floats smaller(Floats a, Floats b) { return _mm256_min_ps(a, b); }
    static Floats rounded(Floats v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    // v * 2^n for whole n, where the result is an ordinary number.
    static Floats times_power(Floats v, Floats n) {
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
    }
    // b where a < least, v elsewhere.
    static Floats where_less(Floats a, Floats least, Floats b, Floats v) { return _mm256_blendv_ps(v, b, _mm256_cmp_ps(a, least, _CMP_LT_OQ)); }
    static bool is_any_not_less(Floats a, Floats b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NLT_UQ)) != 0; }
    static bool is_any_less(Floats a, Floats b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)) != 0; }
    static float largest(Floats v) {
        __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        m = _mm_max_ps(m, _mm_movehl_ps(m, m));
        return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
    }
    // In each half lane i is the sum of that half of v[i].
    static Floats sums_in_halves(const Floats * v) {
        auto two = [](Floats a, Floats b) { return sum(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)); };
        const __m256d a = _mm256_castps_pd(two(v[0], v[1])), b = _mm256_castps_pd(two(v[2], v[3]));
        return sum(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)), _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
    }
    // Lane i is the sum of v[i]'s lanes, added in the same order for each i.
    static Floats sums_of(const Floats * v) {
        const Floats a = sums_in_halves(v), b = sums_in_halves(v + 4);
        return sum(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    }
    // The sums of the lanes of v[0] to v[3], as `sums_of` adds them.
    static void store_four_sums(float * to, const Floats * v) {
        const Floats halves = sums_in_halves(v);
        _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1)));
    }

    // A bit for each of 64 halves that isn't `hidden`; sets `is_any` if one of these isn't zero.
    static uint64_t shown(const uint16_t * p, uint16_t hidden, bool & is_any) {
        uint64_t bits = 0, values = 0;
        for (int i = 0; i < 2; i++) {
            const __m256i a = _mm256_loadu_si256((const __m256i *) p + 2 * i), b = _mm256_loadu_si256((const __m256i *) p + 2 * i + 1);
            const __m256i h = _mm256_set1_epi16(int16_t(hidden)), sign = _mm256_set1_epi16(0x7fff), zero = _mm256_setzero_si256();
            auto packed = [](__m256i x, __m256i y) {
                return uint64_t(uint32_t(_mm256_movemask_epi8(_mm256_permute4x64_epi64(_mm256_packs_epi16(x, y), 0xd8))));
            };
            bits |= packed(_mm256_cmpeq_epi16(a, h), _mm256_cmpeq_epi16(b, h)) << (32 * i);
            values |= packed(_mm256_cmpeq_epi16(_mm256_and_si256(a, sign), zero), _mm256_cmpeq_epi16(_mm256_and_si256(b, sign), zero)) << (32 * i);
        }
        is_any = is_any || (~bits & ~values) != 0;
        return ~bits;
    }
};

}  // namespace
}  // namespace corral
