// The attention kernel, written once over the vocabulary `S` of an instruction set.
//
// Keys are taken one after another: a row's sums are relative to a bound that is raised to a key's score where
// that exceeds it by more than kSlack, and only there. So a row's sums are one chain of operations, which no cut of
// the keys into blocks, no tile of rows and no hidden key changes.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include "attention/attention.h"

#define CORRAL_UNROLL _Pragma("GCC unroll 16")

namespace corral {
namespace {  // each translation unit has its own copy, compiled with its own flags

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSlack = 8.0f;
constexpr int kFewRows = 4;  // more are worth a copy of the keys as floats

// --- rows of the cache as floats ---------------------------------------------------------------------------------

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
            if (weights[0][j] == 0.0f && std::signbit(weights[0][j])) continue;
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

template <class S, class Row> void copy_rows(const char * const * rows, int n, int width, float * to) {
    for (int j = 0; j < n; j++)
        for (int d = 0; d < width; d += S::kLanes) S::store(to + j * width + d, Row::at(rows[j], d));
}

// The operations on rows of one type.
struct RowKernels {
    void (*score)(const float * const *, int, const char * const *, int, int, float * const *);
    void (*add)(const float * const *, int, const char * const *, int, int, int, float * const *, float * const *);
    void (*add_shown)(const float *, const char * const *, int, int, int, float *, float *);
    void (*copy)(const char * const *, int, int, float *);
    size_t (*bytes)(int);
};
template <class S, class Row> constexpr RowKernels row_kernels() { return { score<S, Row>, add<S, Row>, add_shown<S, Row>, copy_rows<S, Row>, Row::bytes }; }
template <class S> constexpr RowKernels kRowKernels[kKvTypes] = { row_kernels<S, F32Row<S>>(), row_kernels<S, F16Row<S>>(), row_kernels<S, BF16Row<S>>(), row_kernels<S, Q80Row<S>>() };

// --- exponentials ------------------------------------------------------------------------------------------------

// e^x within 2 units of the last place; 0 below -87.3. For x up to 88, not for NaN.
template <class S> inline typename S::Floats exponential(typename S::Floats x) {
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
template <class S> inline typename S::Floats capped(typename S::Floats x, float cap) {
    const auto twice = S::product(S::smaller(S::larger(S::product(x, S::all(1.0f / cap)), S::all(-15.0f)), S::all(15.0f)), S::all(2.0f));
    const auto tanh = S::difference(S::all(1.0f), S::quotient(S::all(2.0f), S::sum(exponential<S>(twice), S::all(1.0f))));
    return S::product(S::all(cap), tanh);
}

// --- a job -------------------------------------------------------------------------------------------------------

template <class S> class Attention {
  public:
    Attention(const AttentionJob & job, float * scratch)
        : job(job), k(kRowKernels<S>[job.k_type]), v(kRowKernels<S>[job.v_type]), key_copy(scratch),
          value_copy(key_copy + kKeys * job.dk) {
        float * next = value_copy + kKeys * job.dv;
        for (int r = 0; r < job.n_rows; r++, next += kKeys) weights[r] = next;
        for (int r = 0; r < job.n_rows; r++, next += job.dv) {
            sums[r] = next;
            memset(next, 0, size_t(job.dv) * sizeof(float));
            bounds[r] = -kInfinity;
            totals[r] = 0.0f;
        }
    }

    static size_t scratch_floats(int dk, int dv) { return size_t(kKeys) * size_t(dk + dv) + size_t(kMostRows) * size_t(kKeys + dv); }

    void attend() {
        for (int64_t b = 0; b < job.n_keys; b += kKeys) {
            fetch(job.keys + b + kKeys, int(std::min<int64_t>(kKeys, job.n_keys - b - kKeys)));
            attend_block(job.keys + b, int(std::min<int64_t>(kKeys, job.n_keys - b)), job.sights[b / kKeys]);
        }
        for (int r = 0; r < job.n_rows; r++) finish(r);
    }

  private:
    const AttentionJob & job;
    const RowKernels & k, & v;
    float * key_copy, * value_copy;
    float * weights[kMostRows], * sums[kMostRows];
    float bounds[kMostRows], totals[kMostRows];
    const char * keys[kKeys], * values[kKeys];

    // Fetches the rows of n keys into the second cache: they lie apart, which the hardware's prefetcher doesn't
    // follow. The sums of a few rows go through their values one by one, which it does follow.
    void fetch(const int32_t * numbers, int n) const {
        const size_t key_bytes = k.bytes(job.dk), value_bytes = job.n_rows > kFewRows ? v.bytes(job.dv) : 0;
        for (int j = 0; j < n; j++) {
            const char * key = job.k + size_t(numbers[j]) * job.k_stride, * value = job.v + size_t(numbers[j]) * job.v_stride;
            for (size_t i = 0; i < key_bytes; i += 64) __builtin_prefetch(key + i, 0, 2);
            for (size_t i = 0; i < value_bytes; i += 64) __builtin_prefetch(value + i, 0, 2);
        }
    }

    void attend_block(const int32_t * numbers, int n, Sight sight) {
        const bool is_copied = job.n_rows > kFewRows;
        const int padded = (n + S::kLanes - 1) / S::kLanes * S::kLanes;
        for (int j = 0; j < padded; j++) {
            const auto i = size_t(numbers[std::min(j, n - 1)]);
            keys[j] = job.k + i * job.k_stride;
            values[j] = job.v + i * job.v_stride;
        }
        if (is_copied) {
            k.copy(keys, padded, job.dk, key_copy);
            v.copy(values, n, job.dv, value_copy);
            for (int j = 0; j < padded; j++) {
                keys[j] = (const char *) (key_copy + j * job.dk);
                values[j] = (const char *) (value_copy + j * job.dv);
            }
        }
        (is_copied ? kRowKernels<S>[kKvF32] : k).score(job.q, job.n_rows, keys, padded, job.dk, weights);
        const RowKernels & of_values = is_copied ? kRowKernels<S>[kKvF32] : v;
        const float * even_weights[kMostRows];
        float * even_sums[kMostRows], * even_totals[kMostRows];
        int n_even = 0;
        for (int r = 0; r < job.n_rows; r++) {
            const float most = finish_scores(r, numbers, n, padded, sight);
            if (std::isnan(most)) {
                totals[r] = most;
                continue;
            }
            if (most > bounds[r] + kSlack || bounds[r] == -kInfinity) {
                if (most != -kInfinity) add_raising(r, n, of_values);
                continue;
            }
            weigh(r, 0, padded, bounds[r]);
            if (sight == kSome) {
                of_values.add_shown(weights[r], values, 0, n, job.dv, sums[r], &totals[r]);
                continue;
            }
            even_weights[n_even] = weights[r];
            even_sums[n_even] = sums[r];
            even_totals[n_even++] = &totals[r];
        }
        if (n_even > 0) of_values.add(even_weights, n_even, values, 0, n, job.dv, even_sums, even_totals);
    }

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
            is_spoiled = is_spoiled || S::is_any_not_less(shown_where(bias, x), S::all(kInfinity));
            if (job.softcap != 0.0f) x = capped<S>(x, job.softcap);
            x = shown_where(bias, S::sum(x, bias));
            S::store(weights[r] + j, x);
            most = S::larger(most, x);
        }
        for (int j = n; j < padded; j++) weights[r][j] = -kInfinity;  // these were the last key again
        return is_spoiled ? std::numeric_limits<float>::quiet_NaN() : S::largest(most);
    }

    static typename S::Floats shown_where(typename S::Floats bias, typename S::Floats x) {
        return S::where_less(bias, S::all(-std::numeric_limits<float>::max()), S::all(-kInfinity), x);
    }

    // Makes weights of scores; hidden keys get minus zero.
    void weigh(int r, int from, int to, float bound) {
        for (int j = from / S::kLanes * S::kLanes; j < to; j += S::kLanes) {
            const auto x = S::load(weights[r] + j);
            S::store(weights[r] + j, S::where_less(x, S::all(-std::numeric_limits<float>::max()), S::all(-0.0f), exponential<S>(S::difference(x, S::all(bound)))));
        }
    }

    // Adds the keys of a block in which the row's bound rises.
    void add_raising(int r, int n, const RowKernels & of_values) {
        float scores[kKeys];
        memcpy(scores, weights[r], sizeof(scores));
        for (int from = 0; from < n;) {
            const bool is_raised = bounds[r] == -kInfinity ? scores[from] != -kInfinity : scores[from] > bounds[r] + kSlack;
            if (is_raised) {
                const float factor = exponential_of<S>(bounds[r] - scores[from]);
                for (int d = 0; d < job.dv; d += S::kLanes) S::store(sums[r] + d, S::product(S::load(sums[r] + d), S::all(factor)));
                totals[r] *= factor;
                bounds[r] = scores[from];
            }
            int to = from + 1;
            while (to < n && (bounds[r] == -kInfinity ? scores[to] == -kInfinity : scores[to] <= bounds[r] + kSlack)) to++;
            if (bounds[r] != -kInfinity) {
                memcpy(weights[r], scores, sizeof(scores));
                weigh(r, from, to, bounds[r]);
                of_values.add_shown(weights[r], values, from, to, job.dv, sums[r], &totals[r]);
            }
            from = to;
        }
    }

    void finish(int r) {
        float factor = 1.0f;
        if (job.sinks[r] != nullptr) {
            const float sink = *job.sinks[r];
            const float bound = std::max(bounds[r], sink);
            factor = bounds[r] == -kInfinity ? 1.0f : exponential_of<S>(bounds[r] - bound);
            totals[r] = totals[r] * factor + exponential_of<S>(sink - bound);
        }
        const auto last = S::all(totals[r] == 0.0f ? 0.0f : factor / totals[r]);
        for (int d = 0; d < job.dv; d += S::kLanes) S::store(job.out[r] + d, S::product(S::load(sums[r] + d), last));
    }
};

template <class S> void attend(const AttentionJob & job, float * scratch) { Attention<S>(job, scratch).attend(); }

template <class S> bool find_shown(const uint16_t * mask, int64_t n_keys, uint64_t * bits) {
    bool is_any = false;
    int64_t i = 0;
    for (; i + 64 <= n_keys; i += 64) bits[i / 64] = S::shown(mask + i, kHidden, is_any);
    if (i < n_keys) {
        uint16_t rest[64];
        std::fill(rest, rest + 64, kHidden);
        memcpy(rest, mask + i, size_t(n_keys - i) * sizeof(uint16_t));
        bits[i / 64] = S::shown(rest, kHidden, is_any);
    }
    return is_any;
}

template <class S> constexpr AttentionKernels attention_with(const char * name) { return { name, Attention<S>::scratch_floats, attend<S>, find_shown<S> }; }

}  // namespace
}  // namespace corral
