// The sums of a job's rows: of values, weighted by e^(score - bound), and of the weights.
//
// Keys are taken one after another: a row's sums are relative to a bound that is raised to a key's score where
// that exceeds it by more than kSlack, and only there. So a row's sums are one chain of operations, which no cut of
// the keys into blocks, no company of other rows and no hidden key changes.
#pragma once
#include <algorithm>
#include <cstring>
#include <limits>
#include "attention/exponential.h"

namespace corral {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNumbersEnd = std::numeric_limits<float>::max();
constexpr float kSlack = 8.0f;

// -infinity where the mask hides the key, x elsewhere.
template <class S> CORRAL_WITHIN typename S::Floats shown_where(typename S::Floats bias, typename S::Floats x) {
    return S::where_less(bias, S::all(-kNumbersEnd), S::all(-kInfinity), x);
}

// Weights of scores; those of hidden keys are minus zero.
template <class S> CORRAL_WITHIN typename S::Floats weights_of(typename S::Floats scores, typename S::Floats bounds) {
    return S::where_less(scores, S::all(-kNumbersEnd), S::all(-0.0f), exponential<S>(S::difference(scores, bounds)));
}
inline bool is_hidden(float weight) { return weight == 0.0f && std::signbit(weight); }

template <class S> struct RowSums {
    const AttentionJob & job;
    float * sums;  // [rows][dv]
    float bounds[kMostRows], totals[kMostRows];

    RowSums(const AttentionJob & job, float * scratch) : job(job), sums(scratch) {
        std::fill(sums, sums + size_t(job.n_rows) * size_t(job.dv), 0.0f);
        std::fill(bounds, bounds + job.n_rows, -kInfinity);
        std::fill(bounds + job.n_rows, bounds + kMostRows, kInfinity);  // no score of what isn't a row raises it
        std::fill(totals, totals + kMostRows, 0.0f);
    }

    static size_t scratch_floats(int n_rows, int dv) { return (size_t(n_rows) * size_t(dv) + 15) / 16 * 16; }

    void raise(int r, float bound) {
        const float factor = exponential_of<S>(bounds[r] - bound);
        multiply(r, factor, sums + r * job.dv);
        totals[r] *= factor;
        bounds[r] = bound;
    }

    void finish() {
        for (int r = 0; r < job.n_rows; r++) {
            float factor = 1.0f;
            if (job.sinks[r] != nullptr) {
                const float sink = *job.sinks[r];
                const float bound = std::max(bounds[r], sink);
                factor = bounds[r] == -kInfinity ? 1.0f : exponential_of<S>(bounds[r] - bound);
                totals[r] = totals[r] * factor + exponential_of<S>(sink - bound);
            }
            multiply(r, totals[r] == 0.0f ? 0.0f : factor / totals[r], job.out[r]);
        }
    }

  private:
    void multiply(int r, float factor, float * to) const {
        for (int d = 0; d < job.dv; d += S::kLanes) S::store(to + d, S::product(S::load(sums + r * job.dv + d), S::all(factor)));
    }
};

}  // namespace
}  // namespace corral
