// Panels from ggml's blocks and back, in code for any processor: it runs once for each matrix that is loaded.
//
// A row of a block goes through a stage: its bytes in a panel's order, side by side. Each format has functions that
// visit every bit field of a block in both orders; copying one way is the repacking, copying the other way undoes it.
// Fields move many at a time, and the stages of 16 rows become a panel's vectors by exchanging rows and columns.
#include "formats.h"
#include "interleave.h"
#define GGML_COMMON_DECL_C
#include "ggml-common.h"
#include <cstring>

namespace corral {
namespace {

enum Way { kRepack, kUnpack };

// Moves `bits` bits of each byte of a word between the stage and a block. The goal's bits are zeros before.
template <Way way, class Word> inline void move(uint8_t * stage, int stage_shift, uint8_t * block, int block_shift, int bits) {
    const Word mask = Word(Word(~Word(0)) / 255 * ((1u << bits) - 1));
    Word s, b;
    memcpy(&s, stage, sizeof s);
    memcpy(&b, block, sizeof b);
    if (way == kRepack) s |= (b >> block_shift & mask) << stage_shift;
    else b |= (s >> stage_shift & mask) << block_shift;
    memcpy(way == kRepack ? stage : block, way == kRepack ? &s : &b, sizeof s);
}
// Moves 4 bits of each of 2 n neighbouring bytes of a block, of which the stage has n: the first half's are its low nibbles.
template <Way way, int n> inline void move_nibbles(uint8_t * stage, uint8_t * block, int block_shift) {
    static_assert(n == 8 || n == 16);
    const Bytes16 low = every_byte(0x0f);
    uint8_t whole[16] = {};
    if (way == kRepack) {
        Bytes16 nibbles = load16(block) >> block_shift & low;
        if (n == 16) {
            nibbles |= (load16(block + 16) >> block_shift & low) << 4;
            store16(stage, nibbles);
        } else {
            const uint64_t half = nibbles[0] | nibbles[1] << 4;
            memcpy(stage, &half, sizeof half);
        }
        return;
    }
    memcpy(whole, stage, n);
    const Bytes16 s = load16(whole), firsts = s & low, seconds = s >> 4 & low;
    if (n == 16) {
        store16(block, load16(block) | firsts << block_shift);
        store16(block + 16, load16(block + 16) | seconds << block_shift);
    } else {
        store16(block, load16(block) | Bytes16{ firsts[0], seconds[0] } << block_shift);
    }
}
template <Way way, int n> inline void move_bytes(uint8_t * stage, uint8_t * block) { memcpy(way == kRepack ? stage : block, way == kRepack ? block : stage, n); }
template <Way way, class T> inline void move_whole(T & panel, T & block) {
    if (way == kRepack) panel = block;
    else block = panel;
}

// Exchanges the fields of `bits` bits that mirror each other: field f of each byte of vector w and field w of vector f.
// There are as many vectors as a byte has fields. It is its own inverse. Vectors of a panel are `stride` bytes apart, and
// 64 bytes long.
template <int bits> inline void transpose_fields(uint8_t * vectors, int stride) {
    constexpr int n = 8 / bits;
    for (int at = 0; at < 64; at += 16) {
        Bytes16 words[n];
        for (int w = 0; w < n; w++) words[w] = load16(vectors + w * stride + at);
        for (int step = n / 2; step > 0; step /= 2) {
            // The fields whose number has not the bit `step`, in every byte.
            const Bytes16 mask = every_byte(step * bits == 4 ? 0x0f : step * bits == 2 ? 0x33 : 0x55);
            for (int w = 0; w < n; w++) {
                if (w & step) continue;
                const Bytes16 differing = (words[w] >> (step * bits) ^ words[w + step]) & mask;
                words[w + step] ^= differing;
                words[w] ^= differing << (step * bits);
            }
        }
        for (int w = 0; w < n; w++) store16(vectors + w * stride + at, words[w]);
    }
}

// Moves elements of `size` bytes between 16 rows, `stride` bytes apart, and vectors of one element of each row. There are
// n elements, and memory for them up to a multiple of 16 bytes.
template <Way way, int size> inline void move_elements(uint8_t * rows, size_t stride, uint8_t * vectors, int n) {
    constexpr int side = 16 / size;
    for (int e = 0; e < n; e += side)
        for (int r = 0; r < kRows; r += side) {
            Bytes16 square[side];
            auto of_row = [&](int i) { return rows + size_t(r + i) * stride + e * size; };
            auto of_vector = [&](int i) { return vectors + ((e + i) * kRows + r) * size; };
            for (int i = 0; i < side; i++) square[i] = load16(way == kRepack ? of_row(i) : of_vector(i));
            transpose_square<size>(square);
            for (int i = 0; i < side; i++) store16(way == kRepack ? of_vector(i) : of_row(i), square[i]);
        }
}

// The 6-bit scales of Q4_K and Q5_K. Bytes are spans; bits lie where a panel has them.
struct StageScales {
    uint8_t low[8], high[8];                  // of scales; bits 4-5 of spans 4-7 are beside those of spans 0-3
    uint8_t minimum_low[8], minimum_high[8];  // of minimums
};
template <Way way> void move_scales(StageScales & stage, uint8_t * block) {
    move<way, uint32_t>(stage.low, 0, block, 0, 4);
    move<way, uint32_t>(stage.low + 4, 0, block + 8, 0, 4);
    move<way, uint32_t>(stage.high, 0, block, 4, 4);  // ggml, too, has bits 4-5 of span j beside those of span j + 4
    move<way, uint32_t>(stage.minimum_low, 4, block + 4, 0, 4);
    move<way, uint32_t>(stage.minimum_low + 4, 4, block + 8, 4, 4);
    move<way, uint32_t>(stage.minimum_high, 4, block + 4, 4, 4);
}
// The same between the stages of 16 rows, `stride` bytes apart, and a panel: bytes of scales are [span][row], of minimums
// [pair of spans][row][2].
template <Way way> void move_scales(StageScales & first, size_t stride, Scales6 & panel) {
    constexpr size_t n_low = sizeof panel.low;
    uint8_t scales[16 * kRows], minimums[16 * kRows];
    auto move_all = [&] {
        move_elements<way, 1>(first.low, stride, scales, 16);
        move_elements<way, 2>(first.minimum_low, stride, minimums, 8);
    };
    auto of_panel = [&](size_t at) { return at < n_low ? panel.low + at : panel.high + (at - n_low); };
    if (way == kRepack) move_all();
    for (size_t at = 0; at < sizeof panel; at += 16) {
        if (way == kRepack) {
            store16(of_panel(at), load16(scales + at) | load16(minimums + at));
        } else {
            store16(scales + at, load16(of_panel(at)) & every_byte(0x0f));
            store16(minimums + at, load16(of_panel(at)) & every_byte(0xf0));
        }
    }
    if (way == kUnpack) {
        memset(scales + sizeof panel, 0, sizeof scales - sizeof panel);
        memset(minimums + sizeof panel, 0, sizeof minimums - sizeof panel);
        move_all();
    }
}

// Each format has a stage of a row, `Row`. `visit_row` moves a row's block to and from its stage, or where a field is a
// whole number, the panel; `visit_panel` moves between the stages of 16 rows and the panel.

template <class P, class B> struct WithMinimums {  // Q4_K and Q5_K
    using Panel = P;
    using Block = B;
    static constexpr int kSpanBytes = sizeof(Panel::q) / (8 * kRows);
    struct Row {
        uint8_t weights[8][kSpanBytes];
        StageScales scales;
    };
    template <Way way> static void visit_row(Row & row, Panel & panel, uint16_t *, Block & block, int r) {
        for (int j = 0; j < 8; j++) move_nibbles<way, 16>(row.weights[j], block.qs + j / 2 * 32, j % 2 * 4);
        move_whole<way>(panel.d[r], block.d);
        move_whole<way>(panel.dmin[r], block.dmin);
        move_scales<way>(row.scales, block.scales);
    }
    template <Way way> static void visit_panel(Row * rows, Panel & panel) {
        move_elements<way, 4>(rows[0].weights[0], sizeof(Row), (uint8_t *) panel.q, 2 * kSpanBytes);
        move_scales<way>(rows[0].scales, sizeof(Row), panel.scales);
    }
};

using Q4K = WithMinimums<PanelQ4K, block_q4_K>;

struct Q5K : WithMinimums<PanelQ5K, block_q5_K> {
    template <Way way> static void visit_row(Row & row, Panel & panel, uint16_t * d, Block & block, int r) {
        WithMinimums::visit_row<way>(row, panel, d, block, r);
        for (int j = 0; j < 8; j++) move_bytes<way, 4>(row.weights[j] + 16, block.qh + j * 4);
    }
    // ggml: bit j of a byte of word `quad`; a panel: bit `quad` of a byte of word j.
    template <Way way> static void visit_panel(Row * rows, Panel & panel) {
        if (way == kUnpack) transpose_fields<1>(panel.q[0][4], sizeof panel.q[0]);
        WithMinimums::visit_panel<way>(rows, panel);
        if (way == kRepack) transpose_fields<1>(panel.q[0][4], sizeof panel.q[0]);
    }
};

struct Q6K {
    using Panel = PanelQ6K;
    using Block = block_q6_K;
    struct Row {
        uint8_t weights[16][12];  // of 16 inputs: nibbles, then bit pairs
        int8_t scales[16];
    };
    template <Way way> static void visit_row(Row & row, Panel &, uint16_t * d, Block & block, int r) {
        move_whole<way>(d[r], block.d);
        move_bytes<way, 16>((uint8_t *) row.scales, (uint8_t *) block.scales);
        for (int part = 0; part < 4; part++)  // 16 inputs at the same place in 4 groups of 32
            for (int group = 0; group < 4; group++) {
                auto * weights = row.weights[part / 2 * 8 + group * 2 + part % 2];
                move_nibbles<way, 8>(weights, block.ql + part / 2 * 64 + group % 2 * 32 + part % 2 * 16, group / 2 * 4);
                move_bytes<way, 4>(weights + 8, block.qh + part * 16 + group * 4);
            }
    }
    // ggml: pair `group` of word `quad`; a panel: pair `quad` of word `group`.
    static void transpose_pairs(Panel & panel) {
        for (int part = 0; part < 4; part++) transpose_fields<2>(panel.q[part / 2 * 8 + part % 2][2], 2 * sizeof panel.q[0]);
    }
    template <Way way> static void visit_panel(Row * rows, Panel & panel) {
        if (way == kUnpack) transpose_pairs(panel);
        move_elements<way, 4>(rows[0].weights[0], sizeof(Row), (uint8_t *) panel.q, 48);
        move_elements<way, 2>((uint8_t *) rows[0].scales, sizeof(Row), (uint8_t *) panel.scales, 8);
        if (way == kRepack) transpose_pairs(panel);
    }
};

struct IQ4XS {
    using Panel = PanelIQ4XS;
    using Block = block_iq4_xs;
    struct Row {
        uint8_t weights[128], low[8], high[8];  // of scales: nibbles of spans, and pairs of bits of two spans
    };
    template <Way way> static void visit_row(Row & row, Panel &, uint16_t * d, Block & block, int r) {
        move_whole<way>(d[r], block.d);
        move_bytes<way, sizeof block.qs>(row.weights, block.qs);
        auto * high = (uint8_t *) &block.scales_h;
        for (int j = 0; j < 8; j++) {
            move<way, uint8_t>(&row.low[j % 4], j / 4 * 4, &block.scales_l[j / 2], j % 2 * 4, 4);
            move<way, uint8_t>(&row.high[j % 2], j / 2 * 2, &high[j / 4], j % 4 * 2, 2);
        }
    }
    template <Way way> static void visit_panel(Row * rows, Panel & panel) {
        move_elements<way, 4>(rows[0].weights, sizeof(Row), (uint8_t *) panel.spans, 32);
        uint8_t scales[16][kRows] = {};
        auto move_all = [&] { move_elements<way, 1>(rows[0].low, sizeof(Row), scales[0], 16); };
        if (way == kRepack) move_all();
        move_bytes<way, sizeof panel.low>(panel.low, scales[0]);
        move_bytes<way, sizeof panel.high>(panel.high, scales[8]);
        if (way == kUnpack) move_all();
    }
};

// The formats whose bytes ggml, too, has in the order of a panel, elements of `size` bytes.
template <class B, class P, int size> struct Plain {
    using Panel = P;
    using Block = B;
    struct Row {
        uint8_t weights[sizeof(Block::qs)];
    };
    template <Way way> static void visit_row(Row & row, Panel &, uint16_t * d, Block & block, int r) {
        if constexpr (sizeof(Block) > sizeof block.qs) move_whole<way>(d[r], block.d);
        move_bytes<way, sizeof block.qs>(row.weights, (uint8_t *) block.qs);
    }
    template <Way way> static void visit_panel(Row * rows, Panel & panel) {
        move_elements<way, size>(rows[0].weights, sizeof(Row), (uint8_t *) panel.q, sizeof(Block::qs) / size);
    }
};
template <class Number> struct BlockOf {  // F16, BF16 and F32 have no blocks in ggml
    Number qs[kSpan];
};
using Half = Plain<BlockOf<uint16_t>, PanelHalf, 2>;
using Float = Plain<BlockOf<uint32_t>, PanelFloat, 4>;

// Panels of K blocks are larger than those of a plain block, which has at most a float for each weight.
template <class F> constexpr int block_size() { return sizeof(typename F::Panel) > sizeof(PanelFloat) ? kBlock : kSpan; }

template <class F> void repack(char * to, const char * from, int64_t k, int64_t rows, int64_t first, int64_t last) {
    const int64_t n = k / block_size<F>();
    auto * panels = (typename F::Panel *) to;
    auto * d = (uint16_t *) (to + panels_of(rows) * n * int64_t(sizeof *panels));
    for (int64_t p = first; p < last; p++)
        for (int64_t b = 0; b < n; b++) {
            typename F::Row stages[kRows] = {};
            for (int r = 0; r < kRows; r++) {
                const int64_t row = p * kRows + r;
                typename F::Block zeros = {};
                auto & block = row < rows ? ((typename F::Block *) from)[row * n + b] : zeros;  // not written
                F::template visit_row<kRepack>(stages[r], panels[p * n + b], d + (p * n + b) * kRows, block, r);
            }
            F::template visit_panel<kRepack>(stages, panels[p * n + b]);
        }
}

template <class F> void unpack(char * to, const char * from, int64_t k, int64_t rows) {
    const int64_t n = k / block_size<F>();
    auto * panels = (const typename F::Panel *) from;
    auto * d = (uint16_t *) (from + panels_of(rows) * n * int64_t(sizeof *panels));
    for (int64_t at = 0; at < panels_of(rows) * n; at++) {
        typename F::Row stages[kRows];
        auto panel = panels[at];
        F::template visit_panel<kUnpack>(stages, panel);
        for (int64_t row = at / n * kRows, r = 0; r < kRows && row + r < rows; r++) {
            auto & block = ((typename F::Block *) to)[(row + r) * n + at % n] = {};
            F::template visit_row<kUnpack>(stages[r], panel, d + at * kRows, block, int(r));
        }
    }
}

template <class F> constexpr FormatInfo info(ggml_type type, TileShape shape, bool d_behind) {
    return { type, shape, block_size<F>(), sizeof(typename F::Panel), d_behind, repack<F>, unpack<F> };
}

}  // namespace

const FormatInfo formats[kFormats] = {
    info<Q4K>(GGML_TYPE_Q4_K, kShapeK, false),
    info<Q5K>(GGML_TYPE_Q5_K, kShapeK, false),
    info<Q6K>(GGML_TYPE_Q6_K, kShapeK16, true),
    info<IQ4XS>(GGML_TYPE_IQ4_XS, kShapeK, true),
    info<Plain<block_q4_0, PanelQ4, 4>>(GGML_TYPE_Q4_0, kShape32, true),
    info<Plain<block_iq4_nl, PanelQ4, 4>>(GGML_TYPE_IQ4_NL, kShape32, true),
    info<Plain<block_q8_0, PanelQ8, 4>>(GGML_TYPE_Q8_0, kShape32, true),
    info<Half>(GGML_TYPE_F16, kShapeFloats, false),
    info<Half>(GGML_TYPE_BF16, kShapeFloats, false),
    info<Float>(GGML_TYPE_F32, kShapeFloats, false),
};

const FormatInfo * format_of(ggml_type type) {
    for (const auto & f : formats)
        if (f.type == type) return &f;
    return nullptr;
}

}  // namespace corral
