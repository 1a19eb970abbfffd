// The attention kernels, written once over the vocabulary `S` of an instruction set.
#pragma once
#include "attention/few_rows.h"
#include "attention/row_panels.h"

namespace corral {
namespace {

template <class Rows> void attend_by(const AttentionJob & job, float * scratch, const size_t key_bytes, const size_t value_bytes) {
    Rows rows(job, scratch);
    auto block = [&](int64_t at) { return KeyBlock{ job.keys + at, int(std::clamp<int64_t>(job.n_keys - at, 0, kKeys)) }; };
    for (int64_t at = 0; at < job.n_keys; at += kKeys) {
        const Ahead ahead{ job, block(at + kKeys), key_bytes, value_bytes };
        rows.attend_block(block(at), job.sights[at / kKeys], ahead);
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
