// The panels as one more "extra buffer type" of ggml's CPU backend, and the library's C interface.
//
// ggml keeps its graph, threads and work buffer. llama.cpp offers each weight to the extra buffer types in order
// while it loads a model; ours takes the matrices of formats that the chosen instruction set has kernels for.
#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml-cpu/traits.h"
#include "formats.h"
#include "plugin.h"
#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <sys/mman.h>
#include <thread>
#include <vector>

extern "C" {  // exported by libggml-cpu, declared in none of its installed headers
void ggml_barrier(struct ggml_threadpool * pool);
void ggml_threadpool_chunk_set(struct ggml_threadpool * pool, int value);
int ggml_threadpool_chunk_add(struct ggml_threadpool * pool, int value);
}

namespace corral {
namespace {

constexpr int kPanelsOfChunk = 8;
constexpr int kChunksOfThread = 4;

const InstructionSet * chosen = nullptr;

// The format of a weight that the chosen set can multiply, or null.
const FormatInfo * usable_format(const ggml_tensor * w) {
    const auto * f = format_of(w->type);
    if (f == nullptr || chosen == nullptr || chosen->kernels[f - formats][1] == nullptr) return nullptr;
    return w->ne[0] % f->block == 0 && w->ne[1] > 0 ? f : nullptr;
}

bool is_ours(const ggml_tensor * t) { return t->buffer != nullptr && t->buffer->buft == buffer_type(); }

// n columns cut into tiles of nearly equal width, none wider than the set's.
struct Tiles {
    int64_t n, count;
    explicit Tiles(int64_t n) : n(n), count((n + chosen->columns - 1) / chosen->columns) {}
    int64_t first(int64_t t) const { return t * n / count; }
    int width(int64_t t) const { return int(first(t + 1) - first(t)); }
};

// A repacked matrix.
struct Matrix {
    const FormatInfo * format;
    const char * data;
    int64_t k, rows;

    int64_t n_blocks() const { return k / format->block; }

    // Multiplies panel p with one tile; the last panel's rows beyond the matrix go nowhere.
    void multiply(int64_t p, const Tile & tile, int nc, float * out, size_t stride) const {
        const Kernel kernel = chosen->kernels[format - formats][nc];
        const char * panel = data + p * n_blocks() * int64_t(format->panel_block);
        const char * d = data + scales_at(*format, k, rows) + p * n_blocks() * 2 * kRows;
        const int64_t n_rows = std::min<int64_t>(kRows, rows - p * kRows);
        if (n_rows == kRows) return kernel(panel, d, n_blocks(), tile, out + p * kRows, stride);
        float whole[kTile * kRows];
        kernel(panel, d, n_blocks(), tile, whole, kRows);
        for (int c = 0; c < nc; c++) memcpy(out + c * stride + p * kRows, whole + c * kRows, size_t(n_rows) * sizeof(float));
    }
};

class Traits final : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int, const ggml_tensor * op, size_t & size) override {
        const auto * f = usable_format(op->src[0]);
        size = f->shape.bytes(op->src[1]->ne[0], 1) * size_t(ggml_nrows(op->src[1])) + 64;
        return true;
    }

    bool compute_forward(ggml_compute_params * params, ggml_tensor * op) override {
        const ggml_tensor * w = op->src[0], * x = op->src[1];
        const auto * f = usable_format(w);
        const Matrix matrix = { f, (const char *) w->data, w->ne[0], w->ne[1] };
        const Tiles tiles(x->ne[1]);
        char * base = (char *) ((uintptr_t(params->wdata) + 63) & ~uintptr_t(63));
        const size_t column = f->shape.bytes(matrix.k, 1);

        const int64_t n_groups = matrix.k / f->shape.group;
        for (int64_t i = params->ith; i < tiles.count * n_groups; i += params->nth) {
            const int64_t t = i / n_groups, c = tiles.first(t);
            chosen->quantize(base + c * column, f->shape, (const float *) ((const char *) x->data + c * x->nb[1]), x->nb[1] / sizeof(float), matrix.k, i % n_groups, tiles.width(t));
        }
        const int64_t panels = panels_of(matrix.rows);
        const int64_t step = std::clamp<int64_t>(panels / (params->nth * kChunksOfThread), 1, kPanelsOfChunk);
        const int64_t chunks = (panels + step - 1) / step;
        if (params->ith == 0) ggml_threadpool_chunk_set(params->threadpool, params->nth);
        ggml_barrier(params->threadpool);

        for (int64_t chunk = params->ith; chunk < chunks; chunk = ggml_threadpool_chunk_add(params->threadpool, 1))
            for (int64_t t = 0; t < tiles.count; t++) {
                const int64_t c = tiles.first(t);
                const Tile tile = f->shape.at(base + c * column, matrix.k, tiles.width(t));
                for (int64_t p = chunk * step; p < std::min(panels, (chunk + 1) * step); p++)
                    matrix.multiply(p, tile, tiles.width(t), (float *) ((char *) op->data + c * op->nb[1]), op->nb[1] / sizeof(float));
            }
        return true;
    }
};

class Extra final : public ggml::cpu::extra_buffer_type {
  public:
    bool supports_op(ggml_backend_dev_t, const ggml_tensor * op) override {
        if (op->op != GGML_OP_MUL_MAT || !is_ours(op->src[0]) || usable_format(op->src[0]) == nullptr) return false;
        const ggml_tensor * x = op->src[1];
        return ggml_n_dims(op->src[0]) == 2 && ggml_nrows(x) == x->ne[1] && x->type == GGML_TYPE_F32 && x->nb[0] == sizeof(float)
            && (x->buffer == nullptr || ggml_backend_buft_is_host(x->buffer->buft));
    }
    ggml::cpu::tensor_traits * get_tensor_traits(const ggml_tensor * op) override {
        static Traits traits;
        return op->op == GGML_OP_MUL_MAT && is_ours(op->src[0]) ? &traits : nullptr;
    }
};

// Repacks with up to as many threads as there are processors.
void repack_matrix(const FormatInfo & f, char * to, const char * from, int64_t k, int64_t rows) {
    const int64_t panels = panels_of(rows);
    const int64_t n = std::clamp<int64_t>(panels * k / (1 << 20), 1, std::max(1u, std::thread::hardware_concurrency()));
    std::vector<std::thread> threads;
    for (int64_t i = 1; i < n; i++) threads.emplace_back(f.repack, to, from, k, rows, panels * i / n, panels * (i + 1) / n);
    f.repack(to, from, k, rows, 0, panels / n);
    for (auto & thread : threads) thread.join();
}

void set_tensor(ggml_backend_buffer_t, ggml_tensor * t, const void * data, size_t offset, size_t size) {
    GGML_ASSERT(offset == 0 && size == ggml_nbytes(t));
    repack_matrix(*usable_format(t), (char *) t->data, (const char *) data, t->ne[0], t->ne[1]);
}

ggml_status init_tensor(ggml_backend_buffer_t, ggml_tensor *) { return GGML_STATUS_SUCCESS; }

size_t alloc_size(ggml_backend_buffer_type_t, const ggml_tensor * t) {
    const auto * f = usable_format(t);
    return f == nullptr ? ggml_nbytes(t) : std::max(ggml_nbytes(t), matrix_bytes(*f, t->ne[0], t->ne[1]) * size_t(t->ne[2] * t->ne[3]));
}

ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
    auto * buffer = ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
    if (buffer == nullptr) return nullptr;
#ifdef MADV_HUGEPAGE  // before the first write: one row alone is bound by memory, and by its page tables
    const auto base = (uintptr_t) ggml_backend_buffer_get_base(buffer), page = base & ~uintptr_t(4095);
    madvise((void *) page, size + (base - page), MADV_HUGEPAGE);
#endif
    buffer->buft = type;
    buffer->iface.init_tensor = init_tensor;
    buffer->iface.set_tensor = set_tensor;
    buffer->iface.get_tensor = nullptr;
    buffer->iface.cpy_tensor = nullptr;
    return buffer;
}

}  // namespace

ggml_backend_buffer_type_t buffer_type() {
    static ggml_backend_buffer_type type = {
        { [](ggml_backend_buffer_type_t) { return "CORRAL"; }, alloc_buffer, [](ggml_backend_buffer_type_t) -> size_t { return 64; }, nullptr, alloc_size, nullptr },
        ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0),
        new Extra,
    };
    return &type;
}

const InstructionSet * find_set(const char * name) {
    for (const auto * c = candidates(); c->set != nullptr; c++)
        if (c->is_present() && (name == nullptr || strcmp(name, c->set->name) == 0)) return c->set;
    return nullptr;
}

void choose(const InstructionSet * set) { chosen = set; }

}  // namespace corral

// --- the C interface ---------------------------------------------------------------------------------------------

using namespace corral;

extern "C" const char * corral_choose(const char * name) {
    const auto * set = find_set(name != nullptr && *name != 0 ? name : nullptr);
    choose(set);
    return set == nullptr ? nullptr : set->name;
}

extern "C" void corral_insert() {
    auto & types = ggml_backend_cpu_get_extra_buffer_types();
    if (std::find(types.begin(), types.end(), buffer_type()) == types.end()) types.insert(types.begin(), buffer_type());
}
