// Sixteen bytes of any processor of the architecture, and the exchange of rows and columns in squares of them.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace corral {

// Operators work on its two words. Loads and stores need no alignment.
typedef uint64_t Bytes16 __attribute__((vector_size(16)));

inline Bytes16 load16(const void * from) {
    Bytes16 v;
    memcpy(&v, from, sizeof v);
    return v;
}
inline void store16(void * to, Bytes16 v) { memcpy(to, &v, sizeof v); }
inline Bytes16 every_byte(uint8_t value) {
    const uint64_t word = 0x0101010101010101u * value;
    return Bytes16{ word, word };
}

// Elements of `size` bytes of a and b in turn: a becomes the first half of them, b the second.
template <int size> inline void interleave(Bytes16 & a, Bytes16 & b) {
#if defined(__SSE2__)
    const auto x = (__m128i) a, y = (__m128i) b;
    a = (Bytes16) (size == 1 ? _mm_unpacklo_epi8(x, y) : size == 2 ? _mm_unpacklo_epi16(x, y) : _mm_unpacklo_epi32(x, y));
    b = (Bytes16) (size == 1 ? _mm_unpackhi_epi8(x, y) : size == 2 ? _mm_unpackhi_epi16(x, y) : _mm_unpackhi_epi32(x, y));
#elif defined(__ARM_NEON)
    const auto x = (uint8x16_t) a, y = (uint8x16_t) b;
    if (size == 1) a = (Bytes16) vzip1q_u8(x, y), b = (Bytes16) vzip2q_u8(x, y);
    else if (size == 2) a = (Bytes16) vzip1q_u16((uint16x8_t) x, (uint16x8_t) y), b = (Bytes16) vzip2q_u16((uint16x8_t) x, (uint16x8_t) y);
    else a = (Bytes16) vzip1q_u32((uint32x4_t) x, (uint32x4_t) y), b = (Bytes16) vzip2q_u32((uint32x4_t) x, (uint32x4_t) y);
#else
#error "no interleaving for this architecture"
#endif
}

// Exchanges element j of row i with element i of row j, elements of `size` bytes: a square has 16 / size rows. Each
// round turns the bits of an element's address, row before column, by one: half of them is an exchange.
template <int size> inline void transpose_square(Bytes16 * rows) {
    constexpr int n = 16 / size;
    for (int round = 1; round < n; round *= 2) {
        Bytes16 turned[n];
        for (int i = 0; i < n / 2; i++) {
            turned[2 * i] = rows[i];
            turned[2 * i + 1] = rows[i + n / 2];
            interleave<size>(turned[2 * i], turned[2 * i + 1]);
        }
        for (int i = 0; i < n; i++) rows[i] = turned[i];
    }
}

}  // namespace corral
