// The products of panels of rows with keys and values as floats.
//
// A score is added up as the one of a few rows is: a register of sums, whose lanes are joined by pairs. Scores lie by
// key and row; where they are made into weights, and these multiply values, a register's lanes are so many rows.
#pragma once
#include "attention/row_sums.h"

namespace corral {
namespace {

template <class S> constexpr int kPanelRows = S::kRowVectors * S::kLanes;
constexpr int kRowsScored = 4;    // together
constexpr int kRowsTogether = 6;  // whose values are added
template <class S> constexpr int kKeysTogether = S::kSums / kRowsScored;

// The scores of some rows and of kKeysTogether keys, which lie dk apart; those of a key and the next are `width` apart.
// Fours of rows are computed, so up to three more than there are.
template <class S> CORRAL_APART void score_keys(const float * const * q, int n_rows, const float * keys, int dk, float * scores, int width) {
    constexpr int n = kKeysTogether<S>;
    for (int first = 0; first < n_rows; first += kRowsScored) {
        const float * row[kRowsScored];
        CORRAL_UNROLL for (int r = 0; r < kRowsScored; r++) row[r] = q[std::min(first + r, n_rows - 1)];
        typename S::Floats sums[n][kRowsScored];
        CORRAL_UNROLL for (int i = 0; i < n; i++)
            CORRAL_UNROLL for (int r = 0; r < kRowsScored; r++) sums[i][r] = S::zero();
        for (int64_t d = 0; d < dk; d += S::kLanes) {
            typename S::Floats key[n];
            CORRAL_UNROLL for (int i = 0; i < n; i++) key[i] = S::load(keys + i * dk + d);
            CORRAL_UNROLL for (int r = 0; r < kRowsScored; r++) {
                const auto x = S::load(row[r] + d);
                CORRAL_UNROLL for (int i = 0; i < n; i++) sums[i][r] = S::plus_product(sums[i][r], x, key[i]);
            }
        }
        CORRAL_UNROLL for (int i = 0; i < n; i++) S::store_four_sums(scores + i * width + first, sums[i]);
    }
}

// Adds columns d to d + columns * kLanes - 1 of weighted values, key after key, to the sums of `rows` rows.
template <class S, int rows, int columns>
CORRAL_APART void add_columns_of_panel(const float * weights, int width, const float * values, int n, int dv, float * sums) {
    typename S::Floats acc[rows][columns];
    CORRAL_UNROLL for (int r = 0; r < rows; r++)
        CORRAL_UNROLL for (int i = 0; i < columns; i++) acc[r][i] = S::load(sums + r * dv + i * S::kLanes);
    for (int j = 0; j < n; j++, weights += width, values += dv) {
        typename S::Floats v[columns];
        CORRAL_UNROLL for (int i = 0; i < columns; i++) v[i] = S::load(values + i * S::kLanes);
        CORRAL_UNROLL for (int r = 0; r < rows; r++) {
            const auto w = S::all(weights[r]);
            CORRAL_UNROLL for (int i = 0; i < columns; i++) acc[r][i] = S::plus_product(acc[r][i], w, v[i]);
        }
    }
    CORRAL_UNROLL for (int r = 0; r < rows; r++)
        CORRAL_UNROLL for (int i = 0; i < columns; i++) S::store(sums + r * dv + i * S::kLanes, acc[r][i]);
}

template <class S, int rows, int columns>
inline int add_columns_while(const float * weights, int width, const float * values, int n, int d, int dv, float * sums) {
    for (; d + columns * S::kLanes <= dv; d += columns * S::kLanes) add_columns_of_panel<S, rows, columns>(weights, width, values + d, n, dv, sums + d);
    return d;
}

template <class S, int rows> void add_rows_of_panel(const float * weights, int width, const float * values, int n, int dv, float * sums) {
    constexpr int columns = S::kSums / kRowsTogether;
    int d = 0;
    if constexpr (2 * rows <= kRowsTogether) d = add_columns_while<S, rows, 2 * columns>(weights, width, values, n, d, dv, sums);
    d = add_columns_while<S, rows, columns>(weights, width, values, n, d, dv, sums);
    add_columns_while<S, rows, 1>(weights, width, values, n, d, dv, sums);
}

// Adds n weighted values to the sums of a panel's first rows, in groups of nearly equal size.
template <class S> void add_to_panel(int n_rows, const float * weights, int width, const float * values, int n, int dv, float * sums) {
    const int groups = (n_rows + kRowsTogether - 1) / kRowsTogether;
    for (int g = 0; g < groups; g++) {
        const int r = n_rows * g / groups;
        const float * w = weights + r;
        float * s = sums + r * dv;
        switch (n_rows * (g + 1) / groups - r) {
            case 1: add_rows_of_panel<S, 1>(w, width, values, n, dv, s); break;
            case 2: add_rows_of_panel<S, 2>(w, width, values, n, dv, s); break;
            case 3: add_rows_of_panel<S, 3>(w, width, values, n, dv, s); break;
            case 4: add_rows_of_panel<S, 4>(w, width, values, n, dv, s); break;
            case 5: add_rows_of_panel<S, 5>(w, width, values, n, dv, s); break;
            case kRowsTogether: add_rows_of_panel<S, kRowsTogether>(w, width, values, n, dv, s); break;
        }
    }
}

template <class S> constexpr void (*kCopies[kKvTypes])(const char * const *, int, int, float *) = { copy_rows<S, F32Row<S>>, copy_rows<S, F16Row<S>>, copy_rows<S, BF16Row<S>>, copy_rows<S, Q80Row<S>> };

// --- a job -------------------------------------------------------------------------------------------------------

template <class S> class RowPanels : public RowSums<S> {
  public:
    RowPanels(const AttentionJob & job, float * scratch)
        : RowSums<S>(job, scratch), key_copy(scratch + RowSums<S>::scratch_floats(kMostRows, job.dv)), value_copy(key_copy + kKeys * job.dk),
          scores(value_copy + kKeys * job.dv), biases(scores + kKeys * kPanelRows<S>) {
        std::fill(scores, biases, 0.0f);  // of a last panel's lanes, some of which are no rows
    }

    static size_t scratch_floats(int dk, int dv) {
        return RowSums<S>::scratch_floats(kMostRows, dv) + size_t(kKeys) * size_t(dk + dv + 2 * kPanelRows<S>);
    }

    // Rows ahead are fetched panel by panel: all at once they would be more than the processor can wait for beside work.
    void attend_block(const KeyBlock & block, Sight sight, const Ahead & ahead) {
        const auto [numbers, n] = block;
        const char * keys[kKeys], * values[kKeys];
        const int padded = (n + kKeysTogether<S> - 1) / kKeysTogether<S> * kKeysTogether<S>;
        static_assert(kKeys % kKeysTogether<S> == 0);
        for (int j = 0; j < padded; j++) {
            const auto i = size_t(numbers[std::min(j, n - 1)]);
            keys[j] = job.k + i * job.k_stride;
            values[j] = job.v + i * job.v_stride;
        }
        kCopies<S>[job.k_type](keys, padded, job.dk, key_copy);
        kCopies<S>[job.v_type](values, n, job.dv, value_copy);
        is_skipping = sight == kSome && is_any_infinite(n * job.dv);
        const int panels = (job.n_rows + kPanelRows<S> - 1) / kPanelRows<S>;
        for (int p = 0; p < panels; p++) {
            ahead.fetch_keys(p, panels);
            ahead.fetch_values(p, panels);
            attend_panel<S::kRowVectors>(p * kPanelRows<S>, numbers, n, sight);
        }
    }

  private:
    using RowSums<S>::job, RowSums<S>::sums, RowSums<S>::bounds, RowSums<S>::totals;
    float * key_copy, * value_copy;
    float * scores, * biases;  // of one panel: [keys][rows]
    bool is_skipping;          // hidden keys, whose values times zero would be no numbers

    int rows_from(int r) const { return std::min(kPanelRows<S>, job.n_rows - r); }
    int vectors_from(int r) const { return (rows_from(r) + S::kLanes - 1) / S::kLanes; }

    bool is_any_infinite(int n) const {
        auto none = S::zero();
        for (int d = 0; d < n; d += S::kLanes) none = S::plus_product(none, S::load(value_copy + d), S::zero());
        return S::is_any_not_less(none, S::all(1.0f));
    }

    template <int vectors> void attend_panel(int first, const int32_t * numbers, int n, Sight sight) {
        if constexpr (vectors > 1)
            if (vectors_from(first) < vectors) return attend_panel<vectors - 1>(first, numbers, n, sight);
        constexpr int width = vectors * S::kLanes;
        const bool is_masked = sight != kAll && job.masks[0] != nullptr;
        if (is_masked) n = spread_masks(first, width, numbers, n);
        for (int j = 0; j < n; j += kKeysTogether<S>) score_keys<S>(job.q + first, rows_from(first), key_copy + j * job.dk, job.dk, scores + j * width, width);
        const bool is_raised = is_masked ? finish_scores<vectors, true>(first, n) : finish_scores<vectors, false>(first, n);
        for (int from = 0, to; from < n; from = to) {
            to = n;
            if (is_raised) {
                for (int r = first; r < first + rows_from(first); r++) {
                    const float score = scores[from * width + r - first];
                    if (score > bounds[r] + kSlack) RowSums<S>::raise(r, score);
                }
                for (to = from + 1; to < n && !is_any_above<vectors>(first, scores + to * width);) to++;
            }
            weigh<vectors>(first, from, to);
            add(first, width, from, to);
        }
    }

    // Writes what the mask adds to the scores of a panel; returns the number of keys behind which its rows see none.
    int spread_masks(int first, int width, const int32_t * numbers, int n) const {
        uint16_t copy[kKeys] = {};
        float bias[kKeys];
        int n_seen = 0;
        const bool is_run = numbers[n - 1] - numbers[0] == n - 1 && n % S::kLanes == 0;  // masks can be read where they are
        const uint16_t * mask = copy;
        std::fill(biases, biases + n * width, 0.0f);
        for (int r = 0; r < rows_from(first); r++) {
            const uint16_t * added = job.masks[first + r];
            const bool is_new = r == 0 || added != job.masks[first + r - 1];  // heads of a token have one mask
            if (is_new && is_run) mask = added + numbers[0];
            if (is_new && !is_run)
                for (int j = 0; j < n; j++) copy[j] = added[numbers[j]];
            int seen = n;
            while (seen > n_seen && mask[seen - 1] == kHidden) seen--;
            n_seen = seen;
            if (is_new || job.slopes[first + r] != job.slopes[first + r - 1])
                for (int j = 0; j < n; j += S::kLanes) S::store(bias + j, S::product(S::all(job.slopes[first + r]), S::halves(mask + j)));
            for (int j = 0; j < n; j++) biases[j * width + r] = bias[j];
        }
        return n_seen;
    }

    // Scales, caps and masks a panel's scores. Returns whether any is above its row's bound by more than kSlack. The
    // total of a row becomes NaN if a score that it sees is no number.
    template <int vectors, bool is_masked> CORRAL_APART bool finish_scores(int first, int n) {
        constexpr int width = vectors * S::kLanes;
        typename S::Floats most[vectors], spoiled[vectors];
        CORRAL_UNROLL for (int v = 0; v < vectors; v++) {
            most[v] = S::all(-kInfinity);
            spoiled[v] = S::load(totals + first + v * S::kLanes);
        }
        for (int j = 0; j < n; j++) {
            CORRAL_UNROLL for (int v = 0; v < vectors; v++) {
                float * at = scores + j * width + v * S::kLanes;
                auto x = S::product(S::load(at), S::all(job.scale));
                auto bias = S::zero();
                if (is_masked) bias = S::load(biases + j * width + v * S::kLanes);
                spoiled[v] = S::where_less(is_masked ? shown_where<S>(bias, x) : x, S::all(kInfinity), spoiled[v], S::all(std::numeric_limits<float>::quiet_NaN()));
                if (job.softcap != 0.0f) x = capped<S>(x, job.softcap);
                if (is_masked) x = shown_where<S>(bias, S::sum(x, bias));
                S::store(at, x);
                most[v] = S::larger(most[v], x);
            }
        }
        float all[width];
        CORRAL_UNROLL for (int v = 0; v < vectors; v++) {
            S::store(all + v * S::kLanes, most[v]);
            S::store(totals + first + v * S::kLanes, spoiled[v]);
        }
        return is_any_above<vectors>(first, all);
    }

    template <int vectors> bool is_any_above(int first, const float * of) const {
        bool is_any = false;
        CORRAL_UNROLL for (int v = 0; v < vectors; v++) is_any = is_any || S::is_any_less(S::sum(S::load(bounds + first + v * S::kLanes), S::all(kSlack)), S::load(of + v * S::kLanes));
        return is_any;
    }

    // Makes weights of the scores of these keys, and adds them to the totals.
    template <int vectors> CORRAL_APART void weigh(int first, int from, int to) {
        typename S::Floats bound[vectors], total[vectors];
        CORRAL_UNROLL for (int v = 0; v < vectors; v++) {
            bound[v] = S::load(bounds + first + v * S::kLanes);
            total[v] = S::load(totals + first + v * S::kLanes);
        }
        for (int j = from; j < to; j++) {
            CORRAL_UNROLL for (int v = 0; v < vectors; v++) {
                float * at = scores + (j * vectors + v) * S::kLanes;
                const auto w = weights_of<S>(S::load(at), bound[v]);
                total[v] = S::sum(total[v], w);
                S::store(at, w);
            }
        }
        CORRAL_UNROLL for (int v = 0; v < vectors; v++) S::store(totals + first + v * S::kLanes, total[v]);
    }

    // Adds the weighted values of these keys.
    void add(int first, int width, int from, int to) {
        const float * weights = scores + from * width, * values = value_copy + from * job.dv;
        if (!is_skipping) return add_to_panel<S>(rows_from(first), weights, width, values, to - from, job.dv, sums + first * job.dv);
        for (int r = 0; r < rows_from(first); r++)
            for (int j = 0; j < to - from; j++)
                if (!is_hidden(weights[j * width + r])) add_to_panel<S>(1, weights + j * width + r, width, values + j * job.dv, 1, job.dv, sums + (first + r) * job.dv);
    }
};

}  // namespace
}  // namespace corral
