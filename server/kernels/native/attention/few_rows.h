// The products of a few rows with keys and values as they lie in the cache: a register's lanes are parts of one row.
#pragma once
#include <cmath>
#include <cstring>
#include "attention/row_sums.h"

namespace corral {
namespace {

// --- scores: products of queries and keys ------------------------------------------------------------------------

// The scores of `rows` rows and of keys j to j + kLanes / rows - 1.
template <class S, class Row, int rows>
inline void score_some(const float * const * q, const char * const * keys, int dk, float * const * scores, int j) {
    constexpr int n = S::kLanes / rows;
    typename S::Floats sums[S::kLanes];
    CORRAL_UNROLL for (int i = 0; i < S::kLanes; i++) sums[i] = S::zero();
    for (int d = 0; d < dk; d += S::kLanes) {
        typename S::Floats k[n];
        CORRAL_UNROLL for (int i = 0; i < n; i++) k[i] = Row::at(keys[j + i], d);
        CORRAL_UNROLL for (int r = 0; r < rows; r++) {
            const auto v = S::load(q[r] + d);
            CORRAL_UNROLL for (int i = 0; i < n; i++) sums[r * n + i] = S::plus_product(sums[r * n + i], v, k[i]);
        }
    }
    float all[S::kLanes];
    S::store(all, S::sums_of(sums));
    CORRAL_UNROLL for (int r = 0; r < rows; r++) memcpy(scores[r] + j, all + r * n, n * sizeof(float));
}

template <class S, class Row>
void score(const float * const * q, int n_rows, const char * const * keys, int n_keys, int dk, float * const * scores) {
    int r = 0;
    for (; r + 4 <= n_rows; r += 4)
        for (int j = 0; j < n_keys; j += S::kLanes / 4) score_some<S, Row, 4>(q + r, keys, dk, scores + r, j);
    if (r + 2 <= n_rows) {
        for (int j = 0; j < n_keys; j += S::kLanes / 2) score_some<S, Row, 2>(q + r, keys, dk, scores + r, j);
        r += 2;
    }
    if (r < n_rows)
        for (int j = 0; j < n_keys; j += S::kLanes) score_some<S, Row, 1>(q + r, keys, dk, scores + r, j);
}

// --- values: sums of what the keys stand for, weighted -----------------------------------------------------------

// Adds columns d to d + vectors * kLanes - 1, and the weights themselves to `totals`. A weight of minus zero is that
// of a hidden key, whose value may be anything.
template <class S, class Row, int rows, int vectors, bool is_first, bool has_hidden>
inline void add_some(const float * const * weights, const char * const * values, int from, int to, int d, float * const * sums, float * const * totals) {
    typename S::Floats acc[rows][vectors], total[rows];
    CORRAL_UNROLL for (int r = 0; r < rows; r++) {
        if (is_first) total[r] = S::all(*totals[r]);
        CORRAL_UNROLL for (int i = 0; i < vectors; i++) acc[r][i] = S::load(sums[r] + d + i * S::kLanes);
    }
    for (int j = from; j < to; j++) {
        if constexpr (has_hidden) {
            static_assert(rows == 1);
            if (is_hidden(weights[0][j])) continue;
        }
        typename S::Floats w[rows];
        CORRAL_UNROLL for (int r = 0; r < rows; r++) {
            w[r] = S::all(weights[r][j]);
            if (is_first) total[r] = S::sum(total[r], w[r]);
        }
        CORRAL_UNROLL for (int i = 0; i < vectors; i++) {
            const auto v = Row::at(values[j], d + i * S::kLanes);
            CORRAL_UNROLL for (int r = 0; r < rows; r++) acc[r][i] = S::plus_product(acc[r][i], w[r], v);
        }
    }
    CORRAL_UNROLL for (int r = 0; r < rows; r++) {
        if (is_first) {
            float all[S::kLanes];
            S::store(all, total[r]);
            *totals[r] = all[0];
        }
        CORRAL_UNROLL for (int i = 0; i < vectors; i++) S::store(sums[r] + d + i * S::kLanes, acc[r][i]);
    }
}

template <class S, class Row, int rows, int vectors, bool has_hidden>
inline int add_columns(const float * const * weights, const char * const * values, int from, int to, int d, int dv, float * const * sums, float * const * totals) {
    constexpr int step = vectors * S::kLanes;
    if (d == 0 && dv >= step) {
        add_some<S, Row, rows, vectors, true, has_hidden>(weights, values, from, to, 0, sums, totals);
        d = step;
    }
    for (; d + step <= dv; d += step) add_some<S, Row, rows, vectors, false, has_hidden>(weights, values, from, to, d, sums, totals);
    return d;
}

template <class S, class Row>
void add(const float * const * weights, int n_rows, const char * const * values, int from, int to, int dv, float * const * sums, float * const * totals) {
    int r = 0;
    for (; r + 4 <= n_rows; r += 4) {
        const int d = add_columns<S, Row, 4, 2, false>(weights + r, values, from, to, 0, dv, sums + r, totals + r);
        add_columns<S, Row, 4, 1, false>(weights + r, values, from, to, d, dv, sums + r, totals + r);
    }
    if (r + 2 <= n_rows) {
        const int d = add_columns<S, Row, 2, 4, false>(weights + r, values, from, to, 0, dv, sums + r, totals + r);
        add_columns<S, Row, 2, 1, false>(weights + r, values, from, to, d, dv, sums + r, totals + r);
        r += 2;
    }
    if (r < n_rows) {
        const int d = add_columns<S, Row, 1, 8, false>(weights + r, values, from, to, 0, dv, sums + r, totals + r);
        add_columns<S, Row, 1, 1, false>(weights + r, values, from, to, d, dv, sums + r, totals + r);
    }
}

// The same for one row, from whose keys some may be hidden.
template <class S, class Row>
void add_shown(const float * weights, const char * const * values, int from, int to, int dv, float * sums, float * total) {
    const int d = add_columns<S, Row, 1, 8, true>(&weights, values, from, to, 0, dv, &sums, &total);
    add_columns<S, Row, 1, 1, true>(&weights, values, from, to, d, dv, &sums, &total);
}

// The operations on rows of one type.
struct RowKernels {
    void (*score)(const float * const *, int, const char * const *, int, int, float * const *);
    void (*add)(const float * const *, int, const char * const *, int, int, int, float * const *, float * const *);
    void (*add_shown)(const float *, const char * const *, int, int, int, float *, float *);
};
template <class S, class Row> constexpr RowKernels row_kernels() { return { score<S, Row>, add<S, Row>, add_shown<S, Row> }; }
template <class S> constexpr RowKernels kRowKernels[kKvTypes] = { row_kernels<S, F32Row<S>>(), row_kernels<S, F16Row<S>>(), row_kernels<S, BF16Row<S>>(), row_kernels<S, Q80Row<S>>() };

// --- a job -------------------------------------------------------------------------------------------------------

template <class S> class FewRows : public RowSums<S> {
  public:
    static constexpr int kMost = 4;

    FewRows(const AttentionJob & job, float * scratch) : RowSums<S>(job, scratch), k(kRowKernels<S>[job.k_type]), v(kRowKernels<S>[job.v_type]) {
        for (int r = 0; r < job.n_rows; r++) weights[r] = scratch + RowSums<S>::scratch_floats(kMost, job.dv) + r * kKeys;
    }

    static size_t scratch_floats(int, int dv) { return RowSums<S>::scratch_floats(kMost, dv) + size_t(kMost) * kKeys; }

    void attend_block(const KeyBlock & block, Sight sight, const Ahead & ahead) {
        ahead.fetch_keys(0, 1);  // values are gone through one by one, which the hardware follows
        const auto [numbers, n] = block;
        const int padded = (n + S::kLanes - 1) / S::kLanes * S::kLanes;
        for (int j = 0; j < padded; j++) {
            const auto i = size_t(numbers[std::min(j, n - 1)]);
            keys[j] = job.k + i * job.k_stride;
            values[j] = job.v + i * job.v_stride;
        }
        k.score(job.q, job.n_rows, keys, padded, job.dk, weights);
        const float * even_weights[kMost];
        float * even_sums[kMost], * even_totals[kMost];
        int n_even = 0;
        for (int r = 0; r < job.n_rows; r++) {
            const float most = finish_scores(r, numbers, n, padded, sight);
            if (std::isnan(most)) {
                totals[r] = most;
                continue;
            }
            if (most > bounds[r] + kSlack) {
                add_raising(r, n);
                continue;
            }
            weigh(r, 0, padded);
            if (sight == kSome) {
                v.add_shown(weights[r], values, 0, n, job.dv, sums_of(r), &totals[r]);
                continue;
            }
            even_weights[n_even] = weights[r];
            even_sums[n_even] = sums_of(r);
            even_totals[n_even++] = &totals[r];
        }
        if (n_even > 0) v.add(even_weights, n_even, values, 0, n, job.dv, even_sums, even_totals);
    }

  private:
    using RowSums<S>::job, RowSums<S>::bounds, RowSums<S>::totals;
    const RowKernels & k, & v;
    float * weights[kMost];
    const char * keys[kKeys], * values[kKeys];

    float * sums_of(int r) const { return RowSums<S>::sums + r * job.dv; }

    // Scales, caps and masks the scores of a row. Returns the largest, or NaN if one that the row sees is no number.
    float finish_scores(int r, const int32_t * numbers, int n, int padded, Sight sight) {
        uint16_t mask[kKeys];
        const uint16_t * added = sight == kAll ? nullptr : job.masks[r];
        if (added != nullptr) {
            for (int j = 0; j < padded; j++) mask[j] = added[numbers[std::min(j, n - 1)]];
            added = mask;
        }
        auto most = S::all(-kInfinity);
        bool is_spoiled = false;
        for (int j = 0; j < padded; j += S::kLanes) {
            auto x = S::product(S::load(weights[r] + j), S::all(job.scale));
            auto bias = S::zero();
            if (added != nullptr) bias = S::product(S::all(job.slopes[r]), S::halves(added + j));
            is_spoiled = is_spoiled || S::is_any_not_less(shown_where<S>(bias, x), S::all(kInfinity));
            if (job.softcap != 0.0f) x = capped<S>(x, job.softcap);
            x = shown_where<S>(bias, S::sum(x, bias));
            S::store(weights[r] + j, x);
            most = S::larger(most, x);
        }
        for (int j = n; j < padded; j++) weights[r][j] = -kInfinity;  // these were the last key again
        return is_spoiled ? std::numeric_limits<float>::quiet_NaN() : S::largest(most);
    }

    // Makes weights of scores.
    void weigh(int r, int from, int to) {
        for (int j = from / S::kLanes * S::kLanes; j < to; j += S::kLanes) S::store(weights[r] + j, weights_of<S>(S::load(weights[r] + j), S::all(bounds[r])));
    }

    // Adds the keys of a block in which the row's bound rises.
    void add_raising(int r, int n) {
        float scores[kKeys];
        memcpy(scores, weights[r], sizeof(scores));
        for (int from = 0, to; from < n; from = to) {
            if (scores[from] > bounds[r] + kSlack) RowSums<S>::raise(r, scores[from]);
            for (to = from + 1; to < n && scores[to] <= bounds[r] + kSlack;) to++;
            memcpy(weights[r], scores, sizeof(scores));
            weigh(r, from, to);
            v.add_shown(weights[r], values, from, to, job.dv, sums_of(r), &totals[r]);
        }
    }
};

}  // namespace
}  // namespace corral
