// Rows of the cache as floats, by the type that they are kept in.
#pragma once
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
    for (int j = 0; j < n; j++)
        for (int d = 0; d < width; d += S::kLanes) S::store(to + j * width + d, Row::at(rows[j], d));
}

}  // namespace
}  // namespace corral
