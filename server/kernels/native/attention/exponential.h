// Exponentials of vectors.
#pragma once
#include "attention/cache_rows.h"

namespace corral {
namespace {

// e^x within 2 units of the last place; 0 below -87.3. For x up to 88, not for NaN.
template <class S> CORRAL_WITHIN typename S::Floats exponential(typename S::Floats x) {
    const auto least = S::all(-87.3f);
    const auto bounded = S::larger(x, least);
    const auto n = S::rounded(S::product(bounded, S::all(1.44269504f)));
    const auto r = S::minus_product(S::minus_product(bounded, n, S::all(0.693359375f)), n, S::all(-2.12194440e-4f));
    auto p = S::all(1.9875691500e-4f);
    for (const float c : { 1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f }) p = S::plus_product(S::all(c), p, r);
    p = S::sum(S::plus_product(r, p, S::product(r, r)), S::all(1.0f));
    return S::where_less(x, least, S::zero(), S::times_power(p, n));
}

template <class S> inline float exponential_of(float x) {
    float all[S::kLanes];
    S::store(all, exponential<S>(S::all(x)));
    return all[0];
}

// cap * tanh(x / cap)
template <class S> CORRAL_WITHIN typename S::Floats capped(typename S::Floats x, float cap) {
    const auto twice = S::product(S::smaller(S::larger(S::product(x, S::all(1.0f / cap)), S::all(-15.0f)), S::all(15.0f)), S::all(2.0f));
    const auto tanh = S::difference(S::all(1.0f), S::quotient(S::all(2.0f), S::sum(exponential<S>(twice), S::all(1.0f))));
    return S::product(S::all(cap), tanh);
}

}  // namespace
}  // namespace corral
