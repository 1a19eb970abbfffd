// Attention as an operation of ggml's graph: tokens are joined to tiles, and tiles times KV heads are the jobs.
//
// Tokens that see nearly the same keys share a tile, which computes the keys that any of them sees: the rows of a
// prompt do, sequences side by side in one cache don't, unless they share a long prefix.
#include "attention/attention_op.h"
#include "attention/attention.h"
#include "plugin.h"
#include "sets/sets.h"
#include <algorithm>
#include <cmath>
#include <cstring>

extern "C" {  // exported by libggml-cpu, declared in none of its installed headers
void ggml_barrier(struct ggml_threadpool * pool);
void ggml_threadpool_chunk_set(struct ggml_threadpool * pool, int value);
int ggml_threadpool_chunk_add(struct ggml_threadpool * pool, int value);
}

namespace corral {

bool is_attention_left_to_ggml = true;

const AttentionKernels * attention_kernels(int64_t dk, int64_t dv) {
    auto fits = [&](const AttentionKernels * one) { return one != nullptr && dk % one->lanes == 0 && dv % one->lanes == 0; };
#if defined(__x86_64__)
    const auto * set = chosen_set();
    if (set != nullptr && (set == &set_avx512 || set == &set_amx) && fits(&attention_avx512)) return &attention_avx512;
    static const bool is_present = has_avx2();
    if (is_present && fits(&attention_avx2)) return &attention_avx2;
#elif defined(__aarch64__)
    if (chosen_set() != nullptr && fits(&attention_neon)) return &attention_neon;
#endif
    return nullptr;
}

namespace {

constexpr int kJobsOfThread = 2;
constexpr int kFewestRows = 16;   // of a job, where tokens are many
constexpr int kWasteInverse = 4;  // a tile may compute a quarter more than its rows see

bool find_type(ggml_type type, KvType & found) {
    switch (type) {
        case GGML_TYPE_F32: found = kKvF32; return true;
        case GGML_TYPE_F16: found = kKvF16; return true;
        case GGML_TYPE_BF16: found = kKvBF16; return true;
        case GGML_TYPE_Q8_0: found = kKvQ80; return true;
        default: return false;
    }
}

bool is_row_of(const ggml_tensor * t) {
    KvType type;
    return find_type(t->type, type) && t->ne[0] % (type == kKvQ80 ? 32 : 1) == 0 && t->nb[0] == ggml_type_size(t->type);
}

const AttentionKernels * kernels_of(const ggml_tensor * op) { return attention_kernels(op->src[1]->ne[0], op->src[2]->ne[0]); }

size_t aligned(size_t bytes) { return (bytes + 63) & ~size_t(63); }

// The sizes of an operation, and where its parts lie in the work buffer.
struct Layout {
    int64_t n_keys, words, mask_rows, n_tokens, n_streams;
    size_t shown_at, has_values_at, threads_at;  // shared: bits and a flag for each row of the mask
    size_t both_at, firsts_at, keys_at, sights_at, scratch_at, thread_bytes;  // of each thread

    explicit Layout(const ggml_tensor * op) {
        const ggml_tensor * k = op->src[1], * mask = op->src[3];
        n_keys = k->ne[1];
        words = (n_keys + 63) / 64;
        n_tokens = op->src[0]->ne[1];
        n_streams = op->src[0]->ne[3];
        mask_rows = mask == nullptr ? 1 : n_tokens * mask->ne[3];
        shown_at = 64;
        has_values_at = shown_at + aligned(size_t(words * mask_rows) * sizeof(uint64_t));
        threads_at = has_values_at + aligned(size_t(mask_rows));
        both_at = 0;
        firsts_at = both_at + aligned(2 * size_t(words) * sizeof(uint64_t));
        keys_at = firsts_at + aligned(size_t(n_tokens * n_streams + 1) * sizeof(int32_t));
        sights_at = keys_at + aligned(size_t(n_keys) * sizeof(int32_t));
        scratch_at = sights_at + aligned(size_t(n_keys + kKeys - 1) / kKeys);
        thread_bytes = aligned(scratch_at + kernels_of(op)->scratch_floats(int(k->ne[0]), int(op->src[2]->ne[0])) * sizeof(float)) + 64;
    }
    size_t bytes(int n_threads) const { return threads_at + thread_bytes * size_t(n_threads); }
};

float parameter(const ggml_tensor * op, int i) {
    float value;
    memcpy(&value, (const char *) op->op_params + sizeof(float) * size_t(i), sizeof(value));
    return value;
}

// One operation as one of the threads computes it.
class Attending {
  public:
    Attending(const ggml_compute_params & params, ggml_tensor * op)
        : params(params), kernels(*kernels_of(op)), op(op), q(op->src[0]), k(op->src[1]), v(op->src[2]), mask(op->src[3]), sinks(op->src[4]), at(op),
          work((char *) ((uintptr_t(params.wdata) + 63) & ~uintptr_t(63))), mine(work + at.threads_at + at.thread_bytes * size_t(params.ith)),
          either((uint64_t *) (mine + at.both_at)), both(either + at.words), firsts((int32_t *) (mine + at.firsts_at)), keys((int32_t *) (mine + at.keys_at)),
          sights((Sight *) (mine + at.sights_at)), heads_of_kv(int(q->ne[2] / k->ne[2])) {}

    void compute() {
        find_shown();
        if (params.ith == 0) ggml_threadpool_chunk_set(params.threadpool, params.nth);
        ggml_barrier(params.threadpool);
        cut_tiles();
        const int64_t n_jobs = n_tiles * k->ne[2] * n_parts;
        const bool in_turn = ggml_is_numa();
        int64_t listed = -1;
        for (int64_t i = params.ith; i < n_jobs; i = in_turn ? i + params.nth : ggml_threadpool_chunk_add(params.threadpool, 1)) {
            const int64_t tile = n_tiles - 1 - i / (k->ne[2] * n_parts);  // the last tokens of a prompt see the most keys
            if (tile != listed) list_keys(tile);
            listed = tile;
            attend(tile, int(i / n_parts % k->ne[2]), int(i % n_parts));
        }
    }

  private:
    const ggml_compute_params & params;
    const AttentionKernels & kernels;
    ggml_tensor * op;
    const ggml_tensor * q, * k, * v, * mask, * sinks;
    Layout at;
    char * work, * mine;
    uint64_t * either, * both;  // the keys that any token of a tile sees, and those that all see
    int32_t * firsts;           // the first token of each tile, counted through the streams
    int32_t * keys;
    Sight * sights;
    int heads_of_kv, heads_of_job = 0, most_tokens = 0;
    int64_t n_tiles = 0, n_parts = 1, n_listed = 0;

    int64_t mask_row(int64_t token) const {
        if (mask == nullptr) return 0;
        return token / at.n_tokens % mask->ne[3] * at.n_tokens + token % at.n_tokens;
    }
    uint64_t * shown(int64_t row) const { return (uint64_t *) (work + at.shown_at) + row * at.words; }
    bool & has_values(int64_t row) const { return ((bool *) (work + at.has_values_at))[row]; }
    const uint16_t * mask_values(int64_t row) const {
        return (const uint16_t *) ((const char *) mask->data + row % at.n_tokens * int64_t(mask->nb[1]) + row / at.n_tokens * int64_t(mask->nb[3]));
    }

    void find_shown() const {
        for (int64_t row = params.ith; row < at.mask_rows; row += params.nth) {
            if (mask != nullptr) {
                has_values(row) = kernels.find_shown(mask_values(row), at.n_keys, shown(row));
                continue;
            }
            has_values(row) = false;
            std::fill(shown(row), shown(row) + at.words, ~uint64_t(0));
            if (at.n_keys % 64 != 0) shown(row)[at.words - 1] = (uint64_t(1) << at.n_keys % 64) - 1;
        }
    }

    // Takes further tokens of a stream into a tile while the keys that any sees aren't many more than each sees.
    // Every thread finds the same tiles.
    void cut_tiles() {
        heads_of_job = std::min(heads_of_kv, kMostRows);
        n_parts = (heads_of_kv + heads_of_job - 1) / heads_of_job;
        const int64_t wanted = int64_t(params.nth) * kJobsOfThread, of_wanted = at.n_tokens * at.n_streams * k->ne[2] * n_parts / wanted;
        most_tokens = std::max(1, int(std::clamp<int64_t>(of_wanted, kFewestRows / heads_of_job, kMostRows / heads_of_job)));
        int64_t in_tile = 0, seen = 0;
        for (int64_t t = 0; t < at.n_tokens * at.n_streams; t++) {
            const uint64_t * bits = shown(mask_row(t));
            int64_t own = 0, joined = 0;
            for (int64_t w = 0; w < at.words; w++) {
                own += __builtin_popcountll(bits[w]);
                joined += __builtin_popcountll(in_tile == 0 ? bits[w] : either[w] | bits[w]);
            }
            const bool is_like = joined * (in_tile + 1) <= (seen + own) + (seen + own) / kWasteInverse;
            const bool is_first = in_tile == 0 || in_tile == most_tokens || t % at.n_tokens == 0 || !is_like;
            if (is_first) {
                firsts[n_tiles++] = int32_t(t);
                in_tile = seen = 0;
            }
            for (int64_t w = 0; w < at.words; w++) either[w] = is_first ? bits[w] : either[w] | bits[w];
            in_tile++;
            seen += own;
        }
        firsts[n_tiles] = int32_t(at.n_tokens * at.n_streams);
        const int64_t jobs = n_tiles * k->ne[2] * n_parts;
        if (jobs < wanted) {
            heads_of_job = int(std::max<int64_t>(1, heads_of_job * jobs / wanted));
            n_parts = (heads_of_kv + heads_of_job - 1) / heads_of_job;
        }
    }

    void list_keys(int64_t tile) {
        bool has_any_value = false;
        for (int64_t t = firsts[tile]; t < firsts[tile + 1]; t++) {
            const int64_t row = mask_row(t);
            const uint64_t * bits = shown(row);
            has_any_value = has_any_value || has_values(row);
            const bool is_first = t == firsts[tile];
            for (int64_t w = 0; w < at.words; w++) {
                either[w] = is_first ? bits[w] : either[w] | bits[w];
                both[w] = is_first ? bits[w] : both[w] & bits[w];
            }
        }
        n_listed = 0;
        std::fill(sights, sights + (at.n_keys + kKeys - 1) / kKeys, has_any_value ? kWithMask : kAll);
        for (int64_t w = 0; w < at.words; w++) {
            const int64_t before = n_listed;
            for (uint64_t rest = either[w]; rest != 0; rest &= rest - 1) keys[n_listed++] = int32_t(w * 64 + __builtin_ctzll(rest));
            if (either[w] != both[w])
                for (int64_t b = before / kKeys; b <= (n_listed - 1) / kKeys; b++) sights[b] = kSome;
        }
    }

    void attend(int64_t tile, int kv_head, int part) {
        const int64_t first = firsts[tile], last = firsts[tile + 1], stream = first / at.n_tokens;
        const int begin = kv_head * heads_of_kv + part * heads_of_job, end = std::min(begin + heads_of_job, (kv_head + 1) * heads_of_kv);
        AttentionJob job;
        find_type(k->type, job.k_type);
        find_type(v->type, job.v_type);
        job.k = (const char *) k->data + kv_head * int64_t(k->nb[2]) + stream / (q->ne[3] / k->ne[3]) * int64_t(k->nb[3]);
        job.v = (const char *) v->data + kv_head * int64_t(v->nb[2]) + stream / (q->ne[3] / v->ne[3]) * int64_t(v->nb[3]);
        job.k_stride = k->nb[1];
        job.v_stride = v->nb[1];
        job.dk = int(k->ne[0]);
        job.dv = int(v->ne[0]);
        job.keys = keys;
        job.n_keys = n_listed;
        job.sights = sights;
        job.softcap = parameter(op, 2);
        job.scale = parameter(op, 0);
        job.n_rows = 0;
        for (int64_t t = first; t < last; t++) {
            for (int h = begin; h < end; h++) {
                const int64_t token = t % at.n_tokens;
                const int r = job.n_rows++;
                job.q[r] = (const float *) ((const char *) q->data + token * int64_t(q->nb[1]) + h * int64_t(q->nb[2]) + stream * int64_t(q->nb[3]));
                job.out[r] = (float *) ((char *) op->data + h * int64_t(op->nb[1]) + token * int64_t(op->nb[2]) + stream * int64_t(op->nb[3]));
                job.masks[r] = mask == nullptr ? nullptr : mask_values(mask_row(t));
                job.slopes[r] = slope_of(h);
                job.sinks[r] = sinks == nullptr ? nullptr : (const float *) sinks->data + h;
            }
        }
        kernels.attend(job, (float *) (mine + at.scratch_at));
    }

    // ALiBi's slope of a head (Press and others, 2022), for numbers of heads that are no power of 2, too.
    float slope_of(int head) const {
        const float most = parameter(op, 1);
        if (most <= 0.0f) return 1.0f;
        const int power = 1 << int(std::floor(std::log2(float(q->ne[2]))));
        return head < power ? std::pow(2.0f, -most * float(head + 1) / float(power)) : std::pow(2.0f, -most * float(2 * (head - power) + 1) / float(2 * power));
    }
};

}  // namespace

bool takes_attention(const ggml_tensor * op) {
    if (op->op != GGML_OP_FLASH_ATTN_EXT || is_attention_left_to_ggml) return false;
    const ggml_tensor * q = op->src[0], * k = op->src[1], * v = op->src[2], * mask = op->src[3], * sinks = op->src[4];
    if (q->type != GGML_TYPE_F32 || q->nb[0] != sizeof(float) || op->type != GGML_TYPE_F32 || !is_row_of(k) || !is_row_of(v) || kernels_of(op) == nullptr) return false;
    if (q->ne[2] % k->ne[2] != 0 || v->ne[2] != k->ne[2] || q->ne[3] % k->ne[3] != 0 || q->ne[3] % v->ne[3] != 0) return false;
    if (k->ne[1] == 0 || k->ne[1] > INT32_MAX || q->ne[1] * q->ne[3] > INT32_MAX) return false;
    if (sinks != nullptr && (sinks->type != GGML_TYPE_F32 || sinks->nb[0] != sizeof(float))) return false;
    return mask == nullptr || (mask->type == GGML_TYPE_F16 && mask->nb[0] == sizeof(uint16_t) && mask->ne[0] >= k->ne[1] && mask->ne[1] >= q->ne[1] && mask->ne[2] == 1);
}

size_t attention_work_size(int n_threads, const ggml_tensor * op) { return Layout(op).bytes(n_threads) + 64; }

void compute_attention(const ggml_compute_params & params, ggml_tensor * op) { Attending(params, op).compute(); }

}  // namespace corral
