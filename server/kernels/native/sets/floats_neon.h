// The vocabulary of the attention kernels in NEON: vectors of 4 floats.
#pragma once
#include <arm_neon.h>
#include <cstdint>
#include <cstring>

namespace corral {
namespace {  // as the kernels: each translation unit has its own copy

struct NeonFloats {
    static constexpr int kLanes = 4;
    static constexpr int kSums = 16;                  // registers of sums, beside those that are multiplied
    static constexpr int kRowVectors = 4;             // of a panel of rows
    using Floats = float32x4_t;

    static Floats load(const float * p) { return vld1q_f32(p); }
    static void store(float * p, Floats v) { vst1q_f32(p, v); }
    static Floats all(float v) { return vdupq_n_f32(v); }
    static Floats zero() { return vdupq_n_f32(0.0f); }
    static Floats halves(const void * p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *) p))); }
    static Floats brain_halves(const void * p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16((const uint16_t *) p), 16)); }
    static Floats all_half(const void * p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_dup_u16((const uint16_t *) p))); }
    static Floats signed_bytes(const void * p) {
        uint32_t bytes;
        memcpy(&bytes, p, sizeof bytes);
        return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(bytes)))));
    }

    static Floats sum(Floats a, Floats b) { return vaddq_f32(a, b); }
    static Floats difference(Floats a, Floats b) { return vsubq_f32(a, b); }
    static Floats product(Floats a, Floats b) { return vmulq_f32(a, b); }
    static Floats quotient(Floats a, Floats b) { return vdivq_f32(a, b); }
    static Floats plus_product(Floats sum, Floats a, Floats b) { return vfmaq_f32(sum, a, b); }
    static Floats minus_product(Floats sum, Floats a, Floats b) { return vfmsq_f32(sum, a, b); }
    static Floats larger(Floats a, Floats b) { return vmaxq_f32(a, b); }
    static Floats smaller(Floats a, Floats b) { return vminq_f32(a, b); }
    static Floats rounded(Floats v) { return vrndnq_f32(v); }
    // v * 2^n for whole n, where the result is an ordinary number.
    static Floats times_power(Floats v, Floats n) {
        return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(v), vshlq_n_s32(vcvtnq_s32_f32(n), 23)));
    }
    // b where a < least, v elsewhere.
    static Floats where_less(Floats a, Floats least, Floats b, Floats v) { return vbslq_f32(vcltq_f32(a, least), b, v); }
    static bool is_any_not_less(Floats a, Floats b) { return vminvq_u32(vcltq_f32(a, b)) == 0; }
    static bool is_any_less(Floats a, Floats b) { return vmaxvq_u32(vcltq_f32(a, b)) != 0; }
    static float largest(Floats v) { return vmaxvq_f32(v); }
    // Lane i is the sum of v[i]'s lanes, added in the same order for each i.
    static Floats sums_of(const Floats * v) { return vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3])); }
    static void store_four_sums(float * to, const Floats * v) { store(to, sums_of(v)); }

    // A bit for each of 64 halves that isn't `hidden`; sets `is_any` if one of these isn't zero.
    static uint64_t shown(const uint16_t * p, uint16_t hidden, bool & is_any) {
        static constexpr uint8_t kBits[] = { 1, 2, 4, 8, 16, 32, 64, 128 };
        uint64_t bits = 0, values = 0;
        for (int i = 0; i < 8; i++) {
            const uint16x8_t v = vld1q_u16(p + 8 * i);
            auto packed = [](uint16x8_t lanes) { return uint64_t(vaddv_u8(vand_u8(vmovn_u16(lanes), vld1_u8(kBits)))); };
            bits |= packed(vmvnq_u16(vceqq_u16(v, vdupq_n_u16(hidden)))) << (8 * i);
            values |= packed(vtstq_u16(v, vdupq_n_u16(0x7fff))) << (8 * i);
        }
        is_any = is_any || (bits & values) != 0;
        return bits;
    }
};

}  // namespace
}  // namespace corral
