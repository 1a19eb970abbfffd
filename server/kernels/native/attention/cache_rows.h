// Rows of the cache as floats, by the type that they are kept in.
#pragma once
#include <algorithm>
#include <cstddef>
#include "attention/attention.h"

#define CORRAL_UNROLL _Pragma("GCC unroll 32")
#define CORRAL_WITHIN __attribute__((always_inline)) inline
#define CORRAL_APART __attribute__((noinline))  // with all registers for itself

namespace corral {
namespace {  // each translation unit has its own copy, compiled with its own flags

template <class S> struct F32Row {
    static size_t bytes(int n) { return size_t(n) * 4; }
    static typename S::Floats at(const char * p, int d) { return S::load((const float *) p + d); }
};
template <class S> struct F16Row {
    static size_t bytes(int n) { return size_t(n) * 2; }
    static typename S::Floats at(const char * p, int d) { return S::halves(p + 2 * d); }
};
template <class S> struct BF16Row {
    static size_t bytes(int n) { return size_t(n) * 2; }
    static typename S::Floats at(const char * p, int d) { return S::brain_halves(p + 2 * d); }
};
template <class S> struct Q80Row {  // blocks of a half, the scale, and 32 bytes
    static size_t bytes(int n) { return size_t(n) / 32 * 34; }
    static typename S::Floats at(const char * p, int d) {
        const char * block = p + d / 32 * 34;
        return S::product(S::signed_bytes(block + 2 + d % 32), S::all_half(block));
    }
};

template <class S, class Row> void copy_rows(const char * const * rows, int n, int width, float * to) {
    constexpr int ahead = 8;  // rows, which lie apart in the second cache
    for (int j = 0; j < n; j++) {
        const char * next = rows[std::min(j + ahead, n - 1)];
        for (size_t i = 0; i < Row::bytes(width); i += 64) __builtin_prefetch(next + i);
        for (int d = 0; d < width; d += S::kLanes) S::store(to + j * width + d, Row::at(rows[j], d));
    }
}

// Keys by their numbers, that are taken at once.
struct KeyBlock {
    const int32_t * numbers;
    int n;
};

// The rows of the keys that come next. They lie apart, which the hardware's prefetcher doesn't follow.
struct Ahead {
    const AttentionJob & job;
    KeyBlock block;
    size_t key_bytes, value_bytes;

    // Fetches one of so many parts of them into the second cache.
    void fetch_keys(int part, int parts) const { fetch(part, parts, job.k, job.k_stride, key_bytes); }
    void fetch_values(int part, int parts) const { fetch(part, parts, job.v, job.v_stride, value_bytes); }

  private:
    void fetch(int part, int parts, const char * rows, size_t stride, size_t bytes) const {
        for (int j = block.n * part / parts; j < block.n * (part + 1) / parts; j++) {
            const char * row = rows + size_t(block.numbers[j]) * stride;
            for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i, 0, 2);
        }
    }
};

}  // namespace
}  // namespace corral
