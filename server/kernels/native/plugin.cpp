// The panels as one more "extra buffer type" of ggml's CPU backend, and the library's C interface.
//
// ggml keeps its graph, threads and work buffer. llama.cpp offers each weight to the extra buffer types in order
// while it loads a model; ours takes the matrices of formats that the chosen instruction set has kernels for.
#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml-cpu/traits.h"
#include "attention/attention_op.h"
#include "file_pages.h"
#include "formats.h"
#include "gelu/gelu.h"
#include "plugin.h"
#include <algorithm>
#include <atomic>
#include <cstring>
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
constexpr int kTogether = 64;                  // of many columns meet a panel before the next panel
constexpr int64_t kSliceBytes = 1 << 18;       // are repacked at a time, and dropped if they were read of a file
constexpr int64_t kWeightsOfThread = 1 << 18;  // fewer aren't worth a thread for repacking

const InstructionSet * chosen = nullptr;

// The format of a weight that the chosen set can multiply, or null.
const FormatInfo * usable_format(const ggml_tensor * w) {
    const auto * f = format_of(w->type);
    if (f == nullptr || chosen == nullptr || chosen->kernels[f - formats][1] == nullptr) return nullptr;
    return w->ne[0] % f->block == 0 && w->ne[1] > 0 ? f : nullptr;
}

bool is_ours(const ggml_tensor * t) { return t->buffer != nullptr && t->buffer->buft == buffer_type(); }

// The chosen set's kernel for n columns as many ones, or null.
const Many * many_of(const FormatInfo & f, int64_t n) {
    const auto & many = chosen->many[&f - formats];
    return many.multiply != nullptr && n >= many.from ? &many : nullptr;
}

// The shape of the tiles of n columns.
TileShape shape_of(const FormatInfo & f, int64_t n) {
    TileShape shape = shape_for(*chosen, f);
    if (const auto * many = many_of(f, n)) shape.is_offset = many->is_offset;
    return shape;
}

// n columns cut into tiles of nearly equal width, none wider than the set's.
struct Tiles {
    int64_t n, count;
    Tiles(const FormatInfo & f, int64_t n) : n(n) {
        const auto * many = many_of(f, n);
        const int64_t widest = many != nullptr ? many->columns : widest_tile(*chosen, f);
        count = (n + widest - 1) / widest;
    }
    int64_t first(int64_t t) const { return t * n / count; }
    int width(int64_t t) const { return int(first(t + 1) - first(t)); }
};

// A repacked matrix: a weight, or one expert of a weight of experts.
struct Matrix {
    const FormatInfo * format;
    const char * data;
    int64_t k, rows;

    Matrix(const FormatInfo & f, const ggml_tensor * w, int64_t expert)
        : format(&f), data((const char *) w->data + expert * int64_t(matrix_bytes(f, w->ne[0], w->ne[1]))), k(w->ne[0]), rows(w->ne[1]) {}

    int64_t n_blocks() const { return k / format->block; }

    // Multiplies panel p with one tile. Column c goes to out[c]; the last panel's rows beyond the matrix go nowhere.
    void multiply(int64_t p, const Tile & tile, int nc, float * const * out) const {
        const Kernel kernel = chosen->kernels[format - formats][nc];
        const ptrdiff_t stride = nc > 1 ? out[1] - out[0] : kRows;
        bool is_even = rows_of(p) == kRows && stride > 0;
        for (int c = 2; c < nc; c++) is_even = is_even && out[c] - out[c - 1] == stride;
        if (is_even) return kernel(panel(p), scales(p), n_blocks(), tile, out[0] + p * kRows, size_t(stride));
        float whole[kTile * kRows];
        kernel(panel(p), scales(p), n_blocks(), tile, whole, kRows);
        write(p, whole, nc, out);
    }

    // Multiplies panel p with many tiles, whose columns go to out[0 .. n - 1].
    void multiply(int64_t p, const Many & many, const WideTile * tiles, int n_tiles, int n, float * const * out) const {
        for (int c = 0; c < n; c++) __builtin_prefetch(out[c] + p * kRows, 1);  // each is a line of its own that is written at the end
        alignas(64) float totals[kTogether * kRows];
        memset(totals, 0, sizeof(float) * size_t(n * kRows));
        many.multiply(panel(p), scales(p), n_blocks(), tiles, n_tiles, totals);
        write(p, totals, n, out);
    }

  private:
    int64_t rows_of(int64_t p) const { return std::min<int64_t>(kRows, rows - p * kRows); }
    const char * panel(int64_t p) const { return data + p * n_blocks() * int64_t(format->panel_block); }
    const char * scales(int64_t p) const { return data + scales_at(*format, k, rows) + p * n_blocks() * 2 * kRows; }
    void write(int64_t p, const float * from, int n, float * const * out) const {
        if (rows_of(p) == kRows) {  // a move without a call
            for (int c = 0; c < n; c++) memcpy(out[c] + p * kRows, from + c * kRows, kRows * sizeof(float));
            return;
        }
        for (int c = 0; c < n; c++) memcpy(out[c] + p * kRows, from + c * kRows, size_t(rows_of(p)) * sizeof(float));
    }
};

// The columns of a product in the order of computing: as they lie, or grouped by expert.
struct Columns {
    const ggml_tensor * op;
    const int32_t * order;  // numbers of columns; null if they are taken as they lie

    int64_t number(int64_t i) const { return order == nullptr ? i : order[i]; }
    const float * input(int64_t i) const {
        const ggml_tensor * x = op->src[1];
        const int64_t c = number(i), i1 = c % op->ne[1] % x->ne[1], i2 = c / op->ne[1] % op->ne[2], i3 = c / op->ne[1] / op->ne[2];
        return (const float *) ((const char *) x->data + i1 * int64_t(x->nb[1]) + i2 * int64_t(x->nb[2]) + i3 * int64_t(x->nb[3]));
    }
    float * output(int64_t i) const {
        const int64_t c = number(i), i1 = c % op->ne[1], i2 = c / op->ne[1] % op->ne[2], i3 = c / op->ne[1] / op->ne[2];
        return (float *) ((char *) op->data + i1 * int64_t(op->nb[1]) + i2 * int64_t(op->nb[2]) + i3 * int64_t(op->nb[3]));
    }
};

int64_t columns_of(const ggml_tensor * op) { return op->ne[1] * op->ne[2] * op->ne[3]; }

char * aligned(void * p) { return (char *) ((uintptr_t(p) + 63) & ~uintptr_t(63)); }

// One operation on all threads: columns are quantized into tiles, then chunks of panels are multiplied with them.
// `first[e]` to `first[e + 1]` are the columns of expert e.
class Product {
  public:
    Product(const ggml_compute_params & params, const ggml_tensor * op, const FormatInfo & format, char * tiles, const int32_t * order, const int32_t * first, int64_t n_experts)
        : params(params), w(op->src[0]), format(format), tiles(tiles), columns{ op, order }, first(first), n_experts(n_experts),
          k(w->ne[0]), n_panels(panels_of(w->ne[1])), column_bytes(shape_for(*chosen, format).bytes(k, 1)) {}

    // A thread takes groups that lie side by side.
    void quantize() const {
        const int64_t n_groups = k / format.shape.group;
        int64_t n_jobs = 0, job = 0;
        for (int64_t e = 0; e < n_experts; e++) n_jobs += Tiles(format, first[e + 1] - first[e]).count * n_groups;
        const int64_t from = n_jobs * params.ith / params.nth, to = n_jobs * (params.ith + 1) / params.nth;
        for (int64_t e = 0; e < n_experts && job < to; e++) {
            const Tiles cut(format, first[e + 1] - first[e]);
            const TileShape shape = shape_of(format, cut.n);
            for (int64_t t = 0; t < cut.count && job < to; t++, job += n_groups) {
                if (job + n_groups <= from) continue;
                const int64_t c = first[e] + cut.first(t);
                const float * inputs[kTile];
                for (int i = 0; i < cut.width(t); i++) inputs[i] = columns.input(c + i);
                for (int64_t g = std::max<int64_t>(0, from - job); g < std::min(n_groups, to - job); g++)
                    chosen->quantize(tiles + c * int64_t(column_bytes), shape, inputs, k, g, cut.width(t));
            }
        }
    }

    // Chunks are taken by whoever is free, but one after another in turn where memory belongs to nodes.
    void multiply() const {
        const int64_t step = std::clamp<int64_t>(n_panels / (params.nth * kChunksOfThread), 1, kPanelsOfChunk);
        const int64_t chunks = (n_panels + step - 1) / step;
        const bool in_turn = ggml_is_numa();
        int64_t begin = 0, next = params.ith;
        for (int64_t e = 0; e < n_experts; e++) {
            if (first[e + 1] == first[e]) continue;
            for (; next < begin + chunks; next = in_turn ? next + params.nth : ggml_threadpool_chunk_add(params.threadpool, 1))
                multiply_chunk(e, (next - begin) * step, std::min(n_panels, (next - begin + 1) * step));
            begin += chunks;
        }
    }

  private:
    const ggml_compute_params & params;
    const ggml_tensor * w;
    const FormatInfo & format;
    char * tiles;
    Columns columns;
    const int32_t * first;
    int64_t n_experts, k, n_panels;
    size_t column_bytes;

    void multiply_chunk(int64_t e, int64_t from, int64_t to) const {
        const Matrix matrix(format, w, e);
        const int64_t n = first[e + 1] - first[e];
        const Tiles cut(format, n);
        if (const auto * many = many_of(format, n)) return multiply_many(*many, matrix, e, cut, from, to);
        for (int64_t t = 0; t < cut.count; t++) {
            const int64_t c = first[e] + cut.first(t);
            const int nc = cut.width(t);
            float * outputs[kTile];
            for (int i = 0; i < nc; i++) outputs[i] = columns.output(c + i);
            const Tile tile = shape_of(format, n).at(tiles + c * int64_t(column_bytes), k, nc);
            for (int64_t p = from; p < to; p++) matrix.multiply(p, tile, nc, outputs);
        }
    }

    void multiply_many(const Many & many, const Matrix & matrix, int64_t e, const Tiles & cut, int64_t from, int64_t to) const {
        const TileShape shape = shape_of(format, cut.n);
        const int together = shape.has_signs ? kTogether / 2 : kTogether;  // as many bytes
        for (int64_t begin = 0; begin < cut.count;) {
            WideTile tiles[kTogether / kManyTile * 2];
            float * outputs[kTogether];
            int n_tiles = 0, n = 0;
            for (; begin < cut.count && n + cut.width(begin) <= together; begin++) {
                const int64_t c = first[e] + cut.first(begin);
                const int nc = cut.width(begin);
                tiles[n_tiles++] = { shape.at(this->tiles + c * int64_t(column_bytes), k, nc), nc };
                for (int i = 0; i < nc; i++) outputs[n++] = columns.output(c + i);
            }
            for (int64_t p = from; p < to; p++) matrix.multiply(p, many, tiles, n_tiles, n, outputs);
        }
    }
};

// Groups columns by the expert that `ids` names for each: fills first[0 .. n_experts] and the order.
void group_by_expert(const ggml_tensor * ids, int64_t n_experts, int32_t * first, int32_t * order) {
    const int64_t n_used = ids->ne[0], n_tokens = ids->ne[1];
    auto expert_of = [&](int64_t c) {
        const int32_t e = *(const int32_t *) ((const char *) ids->data + c % n_used * int64_t(ids->nb[0]) + c / n_used * int64_t(ids->nb[1]));
        GGML_ASSERT(e >= 0 && e < n_experts);
        return e;
    };
    std::fill(first, first + n_experts + 1, 0);
    for (int64_t c = 0; c < n_used * n_tokens; c++) first[expert_of(c) + 1]++;
    for (int64_t e = 0; e < n_experts; e++) first[e + 1] += first[e];
    for (int64_t c = 0; c < n_used * n_tokens; c++) order[first[expert_of(c)]++] = int32_t(c);
    for (int64_t e = n_experts; e > 0; e--) first[e] = first[e - 1];
    first[0] = 0;
}

class Traits final : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int, const ggml_tensor * op, size_t & size) override {
        const auto * f = usable_format(op->src[0]);
        size = 64 + shape_for(*chosen, *f).bytes(op->src[1]->ne[0], 1) * size_t(columns_of(op));
        if (op->op == GGML_OP_MUL_MAT_ID) size += 64 + sizeof(int32_t) * size_t(op->src[0]->ne[2] + 1 + columns_of(op));
        return true;
    }

    bool compute_forward(ggml_compute_params * params, ggml_tensor * op) override {
        const auto & f = *usable_format(op->src[0]);
        char * tiles = aligned(params->wdata);
        const int64_t n = columns_of(op);
        int32_t whole[2] = { 0, int32_t(n) };
        int32_t * first = whole, * order = nullptr;
        int64_t n_experts = 1;
        if (op->op == GGML_OP_MUL_MAT_ID) {
            n_experts = op->src[0]->ne[2];
            first = (int32_t *) aligned(tiles + shape_for(*chosen, f).bytes(op->src[1]->ne[0], 1) * size_t(n));
            order = first + n_experts + 1;
            if (params->ith == 0) group_by_expert(op->src[2], n_experts, first, order);
            ggml_barrier(params->threadpool);
        }
        const Product product(*params, op, f, tiles, order, first, n_experts);
        product.quantize();
        if (params->ith == 0) ggml_threadpool_chunk_set(params->threadpool, params->nth);
        ggml_barrier(params->threadpool);
        product.multiply();
        return true;
    }
};

class AttentionTraits final : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int n_threads, const ggml_tensor * op, size_t & size) override {
        size = attention_work_size(n_threads, op);
        return true;
    }
    bool compute_forward(ggml_compute_params * params, ggml_tensor * op) override {
        compute_attention(*params, op);
        return true;
    }
};

class GeluTraits final : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int, const ggml_tensor *, size_t & size) override {
        size = 0;
        return true;
    }
    bool compute_forward(ggml_compute_params * params, ggml_tensor * op) override {
        compute_gelu(*params, op);
        return true;
    }
};

class Extra final : public ggml::cpu::extra_buffer_type {
  public:
    bool supports_op(ggml_backend_dev_t, const ggml_tensor * op) override {
        const ggml_tensor * w = op->src[0], * x = op->src[1];
        if ((op->op != GGML_OP_MUL_MAT && op->op != GGML_OP_MUL_MAT_ID) || !is_ours(w) || w->view_src != nullptr || usable_format(w) == nullptr) return false;
        if (w->data == nullptr && is_left_to_ggml[format_of(w->type) - formats]) return false;  // a weight to be loaded
        const bool is_shaped = op->op == GGML_OP_MUL_MAT ? w->ne[2] == 1 && w->ne[3] == 1 : w->ne[3] == 1 && x->ne[3] == 1;
        return is_shaped && x->type == GGML_TYPE_F32 && x->nb[0] == sizeof(float) && (x->buffer == nullptr || ggml_backend_buft_is_host(x->buffer->buft));
    }
    ggml::cpu::tensor_traits * get_tensor_traits(const ggml_tensor * op) override {
        static Traits traits;
        static AttentionTraits attention;
        static GeluTraits gelu;
        if (takes_attention(op)) return &attention;  // wherever its tensors lie: ggml asks for every operation
        if (takes_gelu(op)) return &gelu;
        return (op->op == GGML_OP_MUL_MAT || op->op == GGML_OP_MUL_MAT_ID) && is_ours(op->src[0]) ? &traits : nullptr;
    }
};

// Repacks a weight, all its matrices, with up to as many threads as there are processors. Each takes slices of panels, and
// what it has read of a file goes: only slices in work are in memory twice.
void repack_weight(const FormatInfo & f, char * to, const char * from, const ggml_tensor * t) {
    const int64_t k = t->ne[0], rows = t->ne[1], n_matrices = t->ne[2], panels = panels_of(rows);
    const size_t bytes = matrix_bytes(f, k, rows), row_bytes = t->nb[1];
    const int64_t per_slice = std::clamp<int64_t>(kSliceBytes / int64_t(kRows * row_bytes), 1, panels);
    const int64_t slices = (panels + per_slice - 1) / per_slice;
    const FilePages pages(from, ggml_nbytes(t));
    std::atomic<int64_t> next{0};
    auto work = [&] {
        for (int64_t i = next++; i < n_matrices * slices; i = next++) {
            const int64_t matrix = i / slices, begin = i % slices * per_slice, end = std::min(panels, begin + per_slice);
            const char * rows_from = from + size_t(matrix) * t->nb[2];
            f.repack(to + size_t(matrix) * bytes, rows_from, k, rows, begin, end);
            pages.drop(rows_from + size_t(begin * kRows) * row_bytes, rows_from + size_t(std::min(rows, end * kRows)) * row_bytes);
        }
    };
    const int64_t n = std::clamp<int64_t>(ggml_nelements(t) / kWeightsOfThread, 1, std::max(1u, std::thread::hardware_concurrency()));
    std::vector<std::thread> threads;
    for (int64_t i = 1; i < std::min(n, n_matrices * slices); i++) threads.emplace_back(work);
    work();
    for (auto & thread : threads) thread.join();
}

void set_tensor(ggml_backend_buffer_t, ggml_tensor * t, const void * data, size_t offset, size_t size) {
    GGML_ASSERT(offset == 0 && size == ggml_nbytes(t));
    repack_weight(*usable_format(t), (char *) t->data, (const char *) data, t);
    n_matrices += t->ne[2];
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
        if ((name == nullptr ? c->set->is_timed : strcmp(name, c->set->name) == 0) && c->is_present()) return c->set;
    return nullptr;
}

void choose(const InstructionSet * set) { chosen = set; }
const InstructionSet * chosen_set() { return chosen; }

bool is_left_to_ggml[kFormats] = {};
std::atomic<int64_t> n_matrices{0};

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
