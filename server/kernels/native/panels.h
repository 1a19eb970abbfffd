// The layouts that the kernels read: weights as panels of 16 rows, activations as tiles of a few columns.
//
// A panel interleaves 16 rows of a weight matrix so that four weights of one row fill a 32-bit lane: 64 bytes are
// 16 rows times 4 inputs (a "quad"). A dot product of bytes with four broadcast activations then yields 16 rows'
// sums at once. A tile holds the activations of up to kTile columns, as bytes with scales, in the order of reading.
#pragma once
#include <cstddef>
#include <cstdint>

// Translation units are compiled for different processors: no function may be shared between them by the linker.
#define CORRAL_INLINE __attribute__((always_inline)) inline

namespace corral {

constexpr int kRows = 16;   // rows of a panel
constexpr int kBlock = 256; // weights of a row in a K block
constexpr int kTile = 8;    // most columns of a tile
constexpr int kManyTile = 4;  // of many columns
constexpr int kSpan = 32;   // weights of a row in a plain block (Q4_0, Q8_0, IQ4_NL)

// --- weights: one struct holds one block of all 16 rows, and is as large as 16 of ggml's blocks ------------------

// The scales and minimums of 8 spans of 32, 6 bits each.
struct Scales6 {
    uint8_t low[128];  // low nibble: bits 0-3 of a scale [span][row]; high: of a minimum [pair of spans][row][2]
    uint8_t high[64];  // bits 0-1, 2-3: bits 4-5 of scales 0-63, 64-127; bits 4-5, 6-7: of minimums
};

struct PanelQ4K {
    uint8_t q[8][4][64];  // span j, vector t: low nibbles are quad t, high nibbles quad t + 4
    Scales6 scales;
    uint16_t d[kRows], dmin[kRows];
};
static_assert(sizeof(PanelQ4K) == 16 * 144);

struct PanelQ5K {
    uint8_t q[8][5][64];  // as in Q4_K; vector 4: bit t of a byte is bit 4 of quad t's weight
    Scales6 scales;
    uint16_t d[kRows], dmin[kRows];
};
static_assert(sizeof(PanelQ5K) == 16 * 176);

// `d` of all blocks lies behind all panels, so that vectors stay aligned; the same holds for the structs below.
struct PanelQ6K {
    uint8_t q[16][3][64];  // 16 weights: low nibbles quads 0, 1, high nibbles quads 2, 3; bit pair t of vector 2 is quad t's
    int8_t scales[8][kRows][2];
};
static_assert(sizeof(PanelQ6K) + 2 * kRows == 16 * 210);

struct PanelQ4 {  // Q4_0 and IQ4_NL: low nibbles are quad t, high nibbles quad t + 4
    uint8_t q[4][64];
};
static_assert(sizeof(PanelQ4) + 2 * kRows == 16 * 18);

// What IQ4_XS's and IQ4_NL's nibbles stand for.
alignas(16) constexpr int8_t kLevels[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

struct PanelIQ4XS {
    PanelQ4 spans[8];
    uint8_t low[64];   // bits 0-3 of scales: low nibble spans 0-3 [span][row], high nibble spans 4-7
    uint8_t high[32];  // bits 4-5: bit pair s / 2 of byte (s % 2) * 16 + row is span s's
};
static_assert(sizeof(PanelIQ4XS) + 2 * kRows == 16 * 136);

struct PanelQ8 {
    int8_t q[8][64];
};
static_assert(sizeof(PanelQ8) + 2 * kRows == 16 * 34);

struct PanelHalf {  // F16 and BF16
    uint16_t q[kSpan][kRows];
};

struct PanelFloat {  // F32: the bits of floats
    uint32_t q[kSpan][kRows];
};

// --- activations -------------------------------------------------------------------------------------------------

// One tile of nc columns and k inputs. A group of inputs (kBlock or kSpan) has one scale for each column. For weights in
// floats or halves the inputs are floats, [k][nc].
//   q     [k / 4][nc][4]            int8; a set that multiplies matrices keeps more inputs of a column together, [k / 8][nc][8]
//                                   or [k / 32][nc][32]: only its quantizer and its kernels know. One column alone is plain.
//                                   With signs, [k / 4][nc][2][4]: sizes up to 127, and -1 for negative inputs or 0.
//   sums  [k / group][run / 2][nc][2] int16, the sums of runs of 16 or 32 inputs (32 alone: [k / 32][nc])
//   d     [k / group][nc]           float
struct Tile {
    const int8_t * q;
    const int16_t * sums;
    const float * d;
};

struct TileShape {
    int group;  // inputs that share a scale
    int run;    // inputs that a sum is taken of; a group holds one or an even number
    bool has_floats = false;  // and neither scales nor sums
    bool is_offset = false;   // bytes are 128 too large, and without a sign
    bool has_signs = false;   // bytes are sizes, and behind each quad are its signs; sums are those of negative inputs' sizes

    CORRAL_INLINE size_t input_bytes(int64_t k) const { return size_t(has_signs ? 2 * k : k); }
    CORRAL_INLINE size_t column_bytes(int64_t k) const { return has_floats ? size_t(k) * sizeof(float) : input_bytes(k) + size_t(k / run * 2 + k / group * 4); }
    CORRAL_INLINE size_t bytes(int64_t k, int nc) const { return column_bytes(k) * size_t(nc); }
    CORRAL_INLINE Tile at(const char * base, int64_t k, int nc) const {
        const auto * sums = base + size_t(nc) * input_bytes(k);
        return { (const int8_t *) base, (const int16_t *) sums, (const float *) (sums + size_t(nc) * size_t(k / run * 2)) };
    }
};
constexpr TileShape kShapeK = { kBlock, 32 };    // Q4_K, Q5_K, IQ4_XS
constexpr TileShape kShapeK16 = { kBlock, 16 };  // Q6_K
constexpr TileShape kShape32 = { kSpan, 32 };    // Q4_0, IQ4_NL, Q8_0
constexpr TileShape kShapeFloats = { kSpan, 32, true };  // F16, BF16, F32

// --- the instruction sets' interface -----------------------------------------------------------------------------

// Multiplies one panel with one tile: 16 sums for each column, column c at out + c * stride (floats).
// `d` are the panel's scales that lie behind all panels, or unused.
using Kernel = void (*)(const char * panel, const char * d, int64_t n_blocks, const Tile & tile, float * out, size_t stride);

// Adds the products of one panel with tiles of a few columns to `totals`, [column][kRows].
struct WideTile {
    Tile tile;
    int columns;
};
using ManyKernel = void (*)(const char * panel, const char * d, int64_t n_blocks, const WideTile * tiles, int n_tiles, float * totals);

// A kernel for many columns, that many or more; null: there is none. It may ask for activations with an offset.
struct Many {
    ManyKernel multiply = nullptr;
    int from = 0;
    bool is_offset = false;
    int columns = kManyTile;  // of a tile at most
};

// Quantizes one group of nc columns, which begin at columns[0 .. nc - 1], into the tile at `base`. Not finite inputs
// give NaN.
using Quantizer = void (*)(char * base, const TileShape & shape, const float * const * columns, int64_t k, int64_t group, int nc);

enum Format { kQ4K, kQ5K, kQ6K, kIQ4XS, kQ40, kIQ4NL, kQ80, kF16, kBF16, kF32, kFormats };

struct InstructionSet {
    const char * name;
    int columns;  // the widest tile
    Quantizer quantize;
    Kernel kernels[kFormats][kTile + 1];  // by columns; null beyond a format's widest tile, all null: ggml has the format
    Many many[kFormats] = {};
    bool has_signs[kFormats] = {};  // formats whose kernels take activations as sizes and signs
    bool is_timed = true;  // else no processor has run it yet but in emulation: it is chosen by its name alone
};
constexpr InstructionSet untimed(InstructionSet set) {
    set.is_timed = false;
    return set;
}

// The sets of this library, best first, ended by null. `is_present` asks the processor and the system.
struct Candidate {
    const InstructionSet * set;
    bool (*is_present)();
};
const Candidate * candidates();

}  // namespace corral
