// The attention kernels, written once over the vocabulary `S` of an instruction set.
#pragma once
#include "attention/few_rows.h"
#include "attention/row_panels.h"

namespace corral {
namespace {

// Fetches the rows of n keys into the second cache: they lie apart, which the hardware's prefetcher doesn't
// follow. The sums of a few rows go through their values one by one, which it does follow.
inline void fetch(const AttentionJob & job, const int32_t * numbers, int n, size_t key_bytes, size_t value_bytes) {
    for (int j = 0; j < n; j++) {
        const char * key = job.k + size_t(numbers[j]) * job.k_stride, * value = job.v + size_t(numbers[j]) * job.v_stride;
        for (size_t i = 0; i < key_bytes; i += 64) __builtin_prefetch(key + i, 0, 2);
        for (size_t i = 0; i < value_bytes; i += 64) __builtin_prefetch(value + i, 0, 2);
    }
}

template <class Rows> void attend_by(const AttentionJob & job, float * scratch, const size_t key_bytes, const size_t value_bytes) {
    Rows rows(job, scratch);
    for (int64_t b = 0; b < job.n_keys; b += kKeys) {
        fetch(job, job.keys + b + kKeys, int(std::min<int64_t>(kKeys, job.n_keys - b - kKeys)), key_bytes, Rows::is_copying ? value_bytes : 0);
        rows.attend_block(job.keys + b, int(std::min<int64_t>(kKeys, job.n_keys - b)), job.sights[b / kKeys]);
    }
    rows.finish();
}

template <class S> void attend(const AttentionJob & job, float * scratch) {
    constexpr size_t (*bytes[kKvTypes])(int) = { F32Row<S>::bytes, F16Row<S>::bytes, BF16Row<S>::bytes, Q80Row<S>::bytes };
    const auto by = job.n_rows <= FewRows<S>::kMost ? attend_by<FewRows<S>> : attend_by<RowPanels<S>>;
    by(job, scratch, bytes[job.k_type](job.dk), bytes[job.v_type](job.dv));
}

template <class S> size_t scratch_floats(int dk, int dv) { return std::max(FewRows<S>::scratch_floats(dk, dv), RowPanels<S>::scratch_floats(dk, dv)); }

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

template <class S> constexpr AttentionKernels attention_with(const char * name) { return { name, S::kLanes, scratch_floats<S>, attend<S>, find_shown<S> }; }

}  // namespace
}  // namespace corral
