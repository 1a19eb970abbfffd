// Activations to bytes, for all instruction sets: without intrinsics, in a form that compilers vectorize.
#pragma once
#include <cstring>
#include <limits>
#include "panels.h"

namespace corral {
namespace {  // as the kernels: each translation unit has its own copy

// Writes rounded inputs as sizes and signs, quad by quad, `step` bytes apart, and makes them the sizes of the negative ones.
template <int n> inline void split_signs(int8_t * to, int step, int32_t * rounded) {
    alignas(64) int8_t sizes[n], signs[n];
    for (int i = 0; i < n; i++) {
        const int32_t sign = rounded[i] >> 31, size = (rounded[i] ^ sign) - sign;
        signs[i] = int8_t(sign);
        sizes[i] = int8_t(size);
        rounded[i] = size & sign;
    }
    for (int i = 0; i < n; i += 4, to += step) {
        memcpy(to, sizes + i, 4);
        memcpy(to + 4, signs + i, 4);
    }
}

// One group of n inputs of column c. `together` inputs of a column lie side by side.
template <int n, int run, int together> inline void quantize_column(const Tile & tile, const TileShape & shape, const float * in, int64_t group, int nc, int c) {
    int32_t most_bits = 0;  // the bits of positive floats have the floats' order
    for (int i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, in + i, 4);
        bits &= 0x7fffffff;
        most_bits = bits > most_bits ? bits : most_bits;
    }
    float most;
    memcpy(&most, &most_bits, 4);
    const bool is_spoiled = most_bits >= 0x7f800000;             // by an infinity or a NaN
    const float inverse = most > 4e-37f ? 127.0f / most : 0.0f;  // of anything smaller it would be infinite
    ((float *) tile.d)[group * nc + c] = is_spoiled ? std::numeric_limits<float>::quiet_NaN() : most / 127.0f;

    alignas(64) int32_t rounded[n];
    for (int i = 0; i < n; i++) {  // adding 1.5 * 2^23 leaves the rounded value in the low bits
        const float shifted = in[i] * inverse + 12582912.0f;
        int32_t bits;
        memcpy(&bits, &shifted, 4);
        rounded[i] = (bits & 0x7fffff) - 0x400000;
    }
    if (shape.has_signs) {
        split_signs<n>((int8_t *) tile.q + (group * n * nc + c * 4) * 2, 8 * nc, rounded);
    } else {
        const int offset = shape.is_offset ? 128 : 0;
        alignas(64) int8_t bytes[n];
        for (int i = 0; i < n; i++) bytes[i] = int8_t(rounded[i] + offset);
        auto * q = (int8_t *) tile.q + group * n * nc + c * together;
        for (int i = 0; i < n; i += together) memcpy(q + i * nc, bytes + i, together);
    }

    constexpr int n_runs = n / run;
    auto * sums = (int16_t *) tile.sums + group * n_runs * nc;
    for (int r = 0; r < n_runs; r++) {
        int32_t sum = 0;
        for (int i = 0; i < run; i++) sum += rounded[r * run + i];
        sums[n_runs == 1 ? c : (r / 2) * nc * 2 + c * 2 + r % 2] = int16_t(sum);
    }
}

// One group of n inputs of column c as it is.
template <int n> inline void copy_column(char * base, const float * in, int64_t group, int nc, int c) {
    auto * to = (float *) base + group * n * nc + c;
    for (int i = 0; i < n; i++) to[i * nc] = in[i];
}

template <int together> void quantize_group(char * base, const TileShape & shape, const float * const * columns, int64_t k, int64_t group, int nc) {
    const Tile tile = shape.at(base, k, nc);
    for (int c = 0; c < nc; c++)  // pieces of columns are too short for the hardware's prefetcher
        for (int i = 0; i < shape.group; i += 16) __builtin_prefetch(columns[c] + group * shape.group + i);
    for (int c = 0; c < nc; c++) {
        const float * in = columns[c] + group * shape.group;
        if (shape.has_floats) copy_column<kSpan>(base, in, group, nc, c);
        else if (shape.group == kSpan) quantize_column<kSpan, kSpan, together>(tile, shape, in, group, nc, c);
        else if (shape.run == 32) quantize_column<kBlock, 32, together>(tile, shape, in, group, nc, c);
        else quantize_column<kBlock, 16, together>(tile, shape, in, group, nc, c);
    }
}

}  // namespace
}  // namespace corral
