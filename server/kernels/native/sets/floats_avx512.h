// The vocabulary of the attention kernels in AVX512: vectors of 16 floats.
#pragma once
#include <cstdint>
#if defined(__GNUC__) && !defined(__clang__)  // GCC 12's own header sets it off
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

namespace corral {
namespace {  // as the kernels: each translation unit has its own copy

struct Avx512Floats {
    static constexpr int kLanes = 16;
    static constexpr int kSums = 24;       // registers of sums, beside those that are multiplied
    static constexpr int kRowVectors = 2;  // of a panel of rows
    using Floats = __m512;

    static Floats load(const float * p) { return _mm512_loadu_ps(p); }
    static void store(float * p, Floats v) { _mm512_storeu_ps(p, v); }
    static Floats all(float v) { return _mm512_set1_ps(v); }
    static Floats zero() { return _mm512_setzero_ps(); }
    static Floats halves(const void * p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p)); }
    static Floats brain_halves(const void * p) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *) p)), 16));
    }
    static Floats all_half(const void * p) { return _mm512_cvtph_ps(_mm256_set1_epi16(*(const int16_t *) p)); }
    static Floats signed_bytes(const void * p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *) p))); }

    static Floats sum(Floats a, Floats b) { return _mm512_add_ps(a, b); }
    static Floats difference(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
    static Floats product(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
    static Floats quotient(Floats a, Floats b) { return _mm512_div_ps(a, b); }
    static Floats plus_product(Floats sum, Floats a, Floats b) { return _mm512_fmadd_ps(a, b, sum); }
    static Floats minus_product(Floats sum, Floats a, Floats b) { return _mm512_fnmadd_ps(a, b, sum); }
    static Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
    static Floats smaller(Floats a, Floats b) { return _mm512_min_ps(a, b); }
    static Floats rounded(Floats v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
    // v * 2^n for whole n, where the result is an ordinary number.
    static Floats times_power(Floats v, Floats n) {
        return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23)));
    }
    // b where a < least, v elsewhere.
    static Floats where_less(Floats a, Floats least, Floats b, Floats v) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, least, _CMP_LT_OQ), v, b); }
    static bool is_any_not_less(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ) != 0; }
    static bool is_any_less(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ) != 0; }
    static float largest(Floats v) {
        v = larger(v, _mm512_shuffle_f32x4(v, v, 0x4e));
        v = larger(v, _mm512_shuffle_f32x4(v, v, 0xb1));
        v = larger(v, _mm512_shuffle_ps(v, v, 0x4e));
        float lanes[kLanes];
        store(lanes, larger(v, _mm512_shuffle_ps(v, v, 0xb1)));
        return lanes[0];
    }
    // In each quarter lane i is the sum of that quarter of v[i].
    static Floats sums_in_quarters(const Floats * v) {
        auto two = [](Floats a, Floats b) { return sum(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)); };
        const Floats a = two(v[0], v[1]), b = two(v[2], v[3]);
        return sum(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    }
    // Lane i is the sum of v[i]'s lanes, added in the same order for each i.
    static Floats sums_of(const Floats * v) {
        auto halved = [](Floats a, Floats b) { return sum(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd)); };
        return halved(halved(sums_in_quarters(v), sums_in_quarters(v + 4)), halved(sums_in_quarters(v + 8), sums_in_quarters(v + 12)));
    }
    // The sums of the lanes of v[0] to v[3], as `sums_of` adds them.
    static void store_four_sums(float * to, const Floats * v) {
        const Floats quarters = sums_in_quarters(v);
        const __m128 first = _mm_add_ps(_mm512_castps512_ps128(quarters), _mm512_extractf32x4_ps(quarters, 1));
        _mm_storeu_ps(to, _mm_add_ps(first, _mm_add_ps(_mm512_extractf32x4_ps(quarters, 2), _mm512_extractf32x4_ps(quarters, 3))));
    }

    // A bit for each of 64 halves that isn't `hidden`; sets `is_any` if one of these isn't zero.
    static uint64_t shown(const uint16_t * p, uint16_t hidden, bool & is_any) {
        uint64_t bits = 0, values = 0;
        for (int i = 0; i < 2; i++) {
            const __m512i v = _mm512_loadu_si512(p + 32 * i), unlike = _mm512_xor_si512(v, _mm512_set1_epi32(hidden << 16 | hidden));
            bits |= uint64_t(_mm512_test_epi16_mask(unlike, unlike)) << (32 * i);
            values |= uint64_t(_mm512_test_epi16_mask(v, _mm512_set1_epi32(0x7fff7fff))) << (32 * i);
        }
        is_any = is_any || (bits & values) != 0;
        return bits;
    }
};

}  // namespace
}  // namespace corral
