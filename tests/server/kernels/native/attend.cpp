// Computes attention from standard input with the kernels CORRAL_ATTENTION.
//
// A case is six int32 (types of keys and values, dk, dv, keys, rows), the scale, the softcap and the rows' slopes as
// floats, the queries [rows][dk], the keys and values in ggml's rows, and the mask as halves [rows][keys]. Its answer is
// the rows together, [rows][dv], and then each alone with the keys that it sees. Links no part of ggml.
#include "attention/attention.h"
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

size_t row_bytes(int type, int width) { return size_t(type == kKvF32 ? width * 4 : type == kKvQ80 ? width / 32 * 34 : width * 2); }

struct Case {
    int k_type, v_type, dk, dv, n_keys, n_rows;
    float scale, softcap;
    std::vector<float> slopes, q;
    std::vector<char> k, v;
    std::vector<uint16_t> mask;

    Case() {
        const auto header = read<int32_t>(6);
        k_type = header[0], v_type = header[1], dk = header[2], dv = header[3], n_keys = header[4], n_rows = header[5];
        const auto numbers = read<float>(2);
        scale = numbers[0], softcap = numbers[1];
        slopes = read<float>(size_t(n_rows));
        q = read<float>(size_t(n_rows) * size_t(dk));
        k = read<char>(row_bytes(k_type, dk) * size_t(n_keys));
        v = read<char>(row_bytes(v_type, dv) * size_t(n_keys));
        mask = read<uint16_t>(size_t(n_rows) * size_t(n_keys));
    }

    // Attends with rows first to last - 1, to the keys that any of them sees.
    std::vector<float> attend(const AttentionKernels & kernels, int first, int last) const {
        std::vector<float> out(size_t((last - first) * dv)), scratch(kernels.scratch_floats(dk, dv));
        std::vector<uint64_t> bits(size_t(n_keys + 63) / 64);
        std::vector<int> seen(size_t(n_keys), 0);
        bool has_values = false;
        for (int r = first; r < last; r++) {
            has_values = kernels.find_shown(mask.data() + r * n_keys, n_keys, bits.data()) || has_values;
            for (int j = 0; j < n_keys; j++) seen[size_t(j)] += int(bits[size_t(j / 64)] >> j % 64 & 1);
        }
        std::vector<int32_t> keys;
        std::vector<Sight> sights;
        for (int j = 0; j < n_keys; j++) {
            if (seen[size_t(j)] == 0) continue;
            if (keys.size() % kKeys == 0) sights.push_back(has_values ? kWithMask : kAll);
            if (seen[size_t(j)] < last - first) sights.back() = kSome;
            keys.push_back(j);
        }
        AttentionJob job = {};
        job.k_type = KvType(k_type), job.v_type = KvType(v_type);
        job.k = k.data(), job.v = v.data();
        job.k_stride = row_bytes(k_type, dk), job.v_stride = row_bytes(v_type, dv);
        job.dk = dk, job.dv = dv;
        job.keys = keys.data(), job.n_keys = int64_t(keys.size()), job.sights = sights.data();
        job.scale = scale, job.softcap = softcap;
        job.n_rows = last - first;
        for (int r = 0; r < job.n_rows; r++) {
            job.q[r] = q.data() + (first + r) * dk;
            job.out[r] = out.data() + r * dv;
            job.masks[r] = mask.data() + (first + r) * n_keys;
            job.slopes[r] = slopes[size_t(first + r)];
        }
        kernels.attend(job, scratch.data());
        return out;
    }
};

void write(const std::vector<float> & numbers) {
    if (fwrite(numbers.data(), sizeof(float), numbers.size(), stdout) != numbers.size()) exit(3);
}

}  // namespace

int main() {
    const Case one;
    write(one.attend(CORRAL_ATTENTION, 0, one.n_rows));
    for (int r = 0; r < one.n_rows; r++) write(one.attend(CORRAL_ATTENTION, r, r + 1));
    return 0;
}
