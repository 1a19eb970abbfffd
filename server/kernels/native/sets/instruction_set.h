// The table of an instruction set's kernels.
#pragma once
#include "products/panel_kernels.h"
#include "products/span_kernels.h"

namespace corral {
namespace {

template <class S, template <class, int> class Family, int... n>
constexpr void fill(Kernel * row, std::integer_sequence<int, n...>) {
    ((row[n + 1] = Family<S, n + 1>::multiply), ...);
}

template <class S> constexpr InstructionSet instruction_set(const char * name) {
    InstructionSet set = { name, S::kColumns, quantize_group<4>, {} };
    const auto columns = std::make_integer_sequence<int, S::kColumns>{};
    fill<S, Q4K>(set.kernels[kQ4K], columns);
    fill<S, Q5K>(set.kernels[kQ5K], columns);
    fill<S, Q6K>(set.kernels[kQ6K], columns);
    fill<S, IQ4XS>(set.kernels[kIQ4XS], columns);
    fill<S, Q40>(set.kernels[kQ40], columns);
    fill<S, IQ4NL>(set.kernels[kIQ4NL], columns);
    fill<S, Q80>(set.kernels[kQ80], columns);
    return set;
}

}  // namespace
}  // namespace corral
