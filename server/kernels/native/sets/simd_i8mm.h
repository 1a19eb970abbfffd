// NEON's products of matrices: two rows times two columns, of 8 inputs each.
#pragma once
#include "panels.h"
#include "sets/simd_neon.h"

namespace corral {
namespace {

struct I8mm {
    using Vocabulary = Neon;
    static constexpr int kTogether = 8;
    template <int nc> struct Setup {};

    // Multiplies 4 rows of `n` quads with nc columns: sums[c] are the 4 rows' sums of column c.
    template <int n, int nc> static CORRAL_INLINE void multiply(const uint8x16_t * quads, const int8_t * x, int32x4_t * sums) {
        static_assert(n % 2 == 0);
        int8x16_t first[n / 2], second[n / 2];  // rows 0, 1 and rows 2, 3
        for (int t = 0; t < n / 2; t++) {
            const auto a = vreinterpretq_s32_u8(quads[2 * t]), b = vreinterpretq_s32_u8(quads[2 * t + 1]);
            first[t] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
            second[t] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
        }
        for (int c = 0; c < nc; c += 2) {
            const bool is_alone = c + 1 == nc;
            auto upper = vdupq_n_s32(0), lower = vdupq_n_s32(0);
            for (int t = 0; t < n / 2; t++) {
                const int8_t * at = x + (t * nc + c) * 8;
                const auto both = is_alone ? vcombine_s8(vld1_s8(at), vdup_n_s8(0)) : vld1q_s8(at);
                upper = vmmlaq_s32(upper, first[t], both);
                lower = vmmlaq_s32(lower, second[t], both);
            }
            sums[c] = vuzp1q_s32(upper, lower);
            if (!is_alone) sums[c + 1] = vuzp2q_s32(upper, lower);
        }
    }
};

}  // namespace
}  // namespace corral
