// The kernels of GELU, written once over the vocabulary `S` of an instruction set.
#pragma once
#include "attention/exponential.h"
#include "gelu/gelu.h"
#include <algorithm>

namespace corral {
namespace {

// x (1 + tanh u) / 2 = x / (1 + e^(-2u)), where u = sqrt(2 / pi) (x + 0.044715 x^3); 0 below -10, where it is less than 1e-22.
template <class S> CORRAL_WITHIN typename S::Floats gelu(typename S::Floats x) {
    constexpr float kMinusTwice = -1.5957691216f, kCubic = 0.044715f * kMinusTwice, kMost = 88.0f;
    const auto exponent = S::product(x, S::plus_product(S::all(kMinusTwice), S::all(kCubic), S::product(x, x)));
    const auto y = S::quotient(x, S::sum(S::all(1.0f), exponential<S>(S::smaller(exponent, S::all(kMost)))));
    return S::where_less(x, S::all(-10.0f), S::zero(), y);
}

template <class S> void multiply_gelu(const float * x, const float * gate, float * out, int64_t n) {
    constexpr int lanes = S::kLanes;
    auto result = [](const float * x, const float * gate) {
        const auto y = gelu<S>(S::load(x));
        return gate == nullptr ? y : S::product(y, S::load(gate));
    };
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) S::store(out + i, result(x + i, gate == nullptr ? nullptr : gate + i));
    if (i == n) return;
    float rest[3][lanes] = {};
    std::copy(x + i, x + n, rest[0]);
    if (gate != nullptr) std::copy(gate + i, gate + n, rest[1]);
    S::store(rest[2], result(rest[0], gate == nullptr ? nullptr : rest[1]));
    std::copy(rest[2], rest[2] + (n - i), out + i);
}

template <class S> constexpr GeluKernels gelu_with(const char * name) { return { name, multiply_gelu<S> }; }

}  // namespace
}  // namespace corral
