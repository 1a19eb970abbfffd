// The kernels' vocabulary in NEON with the dot product of bytes: a panel's 16 rows are four registers.
//
// Weights and activations are signed bytes here; those of the formats without a sign have at most 6 bits.
#pragma once
#include <arm_neon.h>
#include <cstdint>
#include <cstring>

namespace corral {
namespace {  // as the kernels: each translation unit has its own copy

struct Neon {
    static constexpr int kLanes = 4;
    static constexpr int kColumns = 8;
    static constexpr int kAheadFrom = 5;  // columns; not measured
    static constexpr bool kWholeParts = false;
    static constexpr int kOffset = 0;
    using Bytes = uint8x16_t;    // 4 rows of 4 bytes
    using Signed = int8x16_t;
    using Sums = int32x4_t;
    using Wide = int32x4_t;
    using Scale = float32x4_t;
    using Part = float32x4_t;    // scaled sums of a block
    using Ints = int32x4_t;
    using Floats = float32x4_t;
    struct Pairs {               // of 4 rows
        int16x4_t first, second;
    };

    template <int most> static constexpr int run() { return 64; }

    static Bytes load(const void * p) { return vld1q_u8((const uint8_t *) p); }
    static void store(void * p, Bytes v) { vst1q_u8((uint8_t *) p, v); }
    static Bytes quad(const void * p) { return vreinterpretq_u8_s32(vld1q_dup_s32((const int32_t *) p)); }
    static Bytes low_nibbles(Bytes v) { return vandq_u8(v, vdupq_n_u8(15)); }
    static Bytes high_nibbles(Bytes v) { return vshrq_n_u8(v, 4); }
    // Bits of v moved up by `bits` (down if negative), those in `mask`, beside what is in `low`.
    template <int bits, int mask> static Bytes joined(Bytes low, Bytes v) {
        Bytes moved = v;
        if constexpr (bits > 0) moved = vshlq_n_u8(v, bits);
        if constexpr (bits < 0) moved = vshrq_n_u8(v, -bits);
        return vorrq_u8(low, vandq_u8(moved, vdupq_n_u8(mask)));
    }

    static Sums no_sums() { return vdupq_n_s32(0); }
    static Sums dot(Sums sums, Bytes w, Bytes a) { return vdotq_s32(sums, vreinterpretq_s8_u8(w), vreinterpretq_s8_u8(a)); }

    static Bytes lookup(Bytes nibbles, const int8_t * table16) { return vreinterpretq_u8_s8(vqtbl1q_s8(vld1q_s8(table16), nibbles)); }
    static Signed signed_weights(Bytes w) { return vreinterpretq_s8_u8(w); }
    static Wide all_wide(int v) { return vdupq_n_s32(v); }
    static Wide dot_signed(Wide sums, Signed w, Bytes a) { return vdotq_s32(sums, w, vreinterpretq_s8_u8(a)); }
    static Floats floats_of_wide(Wide v) { return vcvtq_f32_s32(v); }

    static Scale scale_u8(const uint8_t * p) { return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four(p))))); }
    static Scale scale_s8(const int8_t * p) { return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(four(p)))))); }
    // The first or second of pairs of signed bytes.
    template <int which> static Scale scale_of_pairs(const int8_t * p) {
        const int16x4_t both = vreinterpret_s16_s8(vld1_s8(p));
        return vcvtq_f32_s32(vmovl_s16(vshr_n_s16(which ? both : vshl_n_s16(both, 8), 8)));
    }

    static Part no_part() { return vdupq_n_f32(0.0f); }
    static Part scaled(Part part, Sums sums, Scale s) { return vfmaq_f32(part, vcvtq_f32_s32(sums), s); }
    static Floats floats(Part part) { return part; }

    static Ints no_ints() { return vdupq_n_s32(0); }
    static Pairs pairs_u8(const uint8_t * p) { return pairs(vreinterpretq_s16_u16(vmovl_u8(vld1_u8(p)))); }
    static Pairs pairs_s8(const int8_t * p) { return pairs(vmovl_s8(vld1_s8(p))); }
    static Ints dot_pairs(Ints sums, Pairs m, const int16_t * a) { return vmlal_n_s16(vmlal_n_s16(sums, m.first, a[0]), m.second, a[1]); }
    static Floats floats_of_ints(Ints v) { return vcvtq_f32_s32(v); }

    static Floats no_floats() { return vdupq_n_f32(0.0f); }
    static Floats all(float v) { return vdupq_n_f32(v); }
    static Floats halves(const void * p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *) p))); }
    static Floats product(Floats a, Floats b) { return vmulq_f32(a, b); }
    static Floats plus_product(Floats sum, Floats a, Floats b) { return vfmaq_f32(sum, a, b); }
    static Floats minus_product(Floats sum, Floats a, Floats b) { return vfmsq_f32(sum, a, b); }
    static void store_floats(float * p, Floats v) { vst1q_f32(p, v); }

  private:
    static uint8x8_t four(const void * p) {
        uint32_t bytes;
        memcpy(&bytes, p, sizeof bytes);
        return vcreate_u8(bytes);
    }
    static Pairs pairs(int16x8_t v) { return { vget_low_s16(vuzp1q_s16(v, v)), vget_low_s16(vuzp2q_s16(v, v)) }; }
};

}  // namespace
}  // namespace corral
