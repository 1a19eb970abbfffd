// Computes GELU from standard input with the kernels CORRAL_GELU.
//
// A case is two int32 (the number of values, and 1 if there are gates), the values, and the gates. Its answer is the values
// together, and then each alone. Links no part of ggml.
#include "gelu/gelu.h"
#include <cstdio>
#include <cstdlib>
#include <vector>

using namespace corral;

namespace {

template <class T> std::vector<T> read(size_t count) {
    std::vector<T> to(count);
    if (fread(to.data(), sizeof(T), count, stdin) != count) exit(4);
    return to;
}

void write(const std::vector<float> & numbers) {
    if (fwrite(numbers.data(), sizeof(float), numbers.size(), stdout) != numbers.size()) exit(3);
}

}  // namespace

int main() {
    const auto header = read<int32_t>(2);
    const auto x = read<float>(size_t(header[0])), gates = read<float>(header[1] != 0 ? x.size() : 0);
    const float * gate = gates.empty() ? nullptr : gates.data();
    std::vector<float> together(x.size()), alone(x.size());
    CORRAL_GELU.multiply(x.data(), gate, together.data(), int64_t(x.size()));
    for (size_t i = 0; i < x.size(); i++) CORRAL_GELU.multiply(&x[i], gate == nullptr ? nullptr : gate + i, &alone[i], 1);
    write(together);
    write(alone);
    return 0;
}
