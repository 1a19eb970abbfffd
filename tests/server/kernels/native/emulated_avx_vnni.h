// AVX-VNNI's two instructions as the kernels call them, by SIMDe. Included before all else.
#pragma once
#include <immintrin.h>
#include <cstring>
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/dpwssd.h>

namespace emulated {

template <class To, class From> inline To as(From v) {
    To to;
    static_assert(sizeof to == sizeof v);
    memcpy(&to, &v, sizeof v);
    return to;
}

}  // namespace emulated

#define _mm256_dpbusd_avx_epi32(sums, w, a) \
    emulated::as<__m256i>(simde_mm256_dpbusd_epi32(emulated::as<simde__m256i>(sums), emulated::as<simde__m256i>(w), emulated::as<simde__m256i>(a)))
#define _mm256_dpwssd_avx_epi32(sums, w, a) \
    emulated::as<__m256i>(simde_mm256_dpwssd_epi32(emulated::as<simde__m256i>(sums), emulated::as<simde__m256i>(w), emulated::as<simde__m256i>(a)))
