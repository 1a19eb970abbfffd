// AMX's tiles. The compilers' own functions aren't used: GCC 12's let it drop the stores before a tile is loaded.
#pragma once
#include <cstdint>
#include "panels.h"

namespace corral {
namespace {

struct alignas(64) TileConfiguration {
    uint8_t palette = 1, start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfiguration) == 64);

#ifndef CORRAL_TILE_INSTRUCTIONS  // else a test's emulation is there
CORRAL_INLINE void load_configuration(const TileConfiguration & c) { asm volatile("ldtilecfg %0" : : "m"(c)); }
CORRAL_INLINE void store_configuration(TileConfiguration & c) { asm volatile("sttilecfg %0" : "=m"(c)); }

template <int tile> CORRAL_INLINE void tile_zero() { asm volatile("tilezero %%tmm%c0" : : "i"(tile)); }
template <int tile> CORRAL_INLINE void tile_load(const void * p, int64_t row_stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(row_stride), "i"(tile) : "memory");
}
template <int tile> CORRAL_INLINE void tile_store(void * p, int64_t row_stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(row_stride), "i"(tile) : "memory");
}
// Adds the products of two tiles of signed bytes: rows of `a` with the quads of `b`.
template <int sums, int a, int b> CORRAL_INLINE void tile_dot() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(a), "i"(b));
}

#endif

}  // namespace
}  // namespace corral
