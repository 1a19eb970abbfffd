// The attention of query rows over a KV cache: what its kernels are given, and the sets that have them.
//
// A row's result is computed key after key, so it depends neither on how many rows are computed together, nor on
// how many threads there are, nor on the keys between its own that its mask hides: bit for bit within a set.
#pragma once
#include <cstddef>
#include <cstdint>

namespace corral {

constexpr int kKeys = 96;          // keys that are taken at once
constexpr int kMostRows = 192;     // rows of a job: more share a copy of the keys, fewer see them all
constexpr uint16_t kHidden = 0xfc00;  // a mask's minus infinity, as a half

enum KvType { kKvF32, kKvF16, kKvBF16, kKvQ80, kKvTypes };

// What the rows of a tile see of kKeys keys.
enum Sight : uint8_t {
    kAll,        // each row sees each of the keys, and the mask adds nothing
    kWithMask,   // each row sees each of the keys, and the mask adds something
    kSome,       // some row doesn't see some key
};

// One job: rows that share a KV head, and the keys that any of them sees, in order.
struct AttentionJob {
    KvType k_type, v_type;
    const char * k, * v;          // of key 0
    size_t k_stride, v_stride;    // bytes from key to key
    int dk, dv;                   // multiples of 8, of 32 for Q8_0
    const int32_t * keys;
    int64_t n_keys;
    const Sight * sights;         // of each kKeys keys
    float scale, softcap;         // softcap 0: none
    int n_rows;
    const float * q[kMostRows];
    float * out[kMostRows];
    const uint16_t * masks[kMostRows];  // by key; null where nothing is masked
    float slopes[kMostRows];            // of the mask
    const float * sinks[kMostRows];     // null: none
};

struct AttentionKernels {
    const char * name;
    int lanes;  // widths of rows are multiples of it
    size_t (*scratch_floats)(int dk, int dv);  // of one thread
    void (*attend)(const AttentionJob & job, float * scratch);
    // Writes a bit for each key that the mask row shows, and zeros up to a multiple of 64. Returns whether any of
    // the values that it shows isn't zero.
    bool (*find_shown)(const uint16_t * mask, int64_t n_keys, uint64_t * bits);
};

// Null where the compiler lacks their flags.
#if defined(__x86_64__)
extern const __attribute__((weak)) AttentionKernels attention_avx2, attention_avx512;
#elif defined(__aarch64__)
extern const __attribute__((weak)) AttentionKernels attention_neon;
#endif

// The kernels that go with the chosen instruction set and have rows of these widths, or null.
const AttentionKernels * attention_kernels(int64_t dk, int64_t dv);

// Whether ggml's own kernel is to be used, as it is at first. Not to be changed while a graph is computed.
extern bool is_attention_left_to_ggml;

}  // namespace corral
