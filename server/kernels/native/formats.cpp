// Panels from ggml's blocks and back, in portable code: it runs once for each matrix that is loaded.
//
// A row of a block goes through a stage: its bytes in a panel's order, side by side. Each format has functions that
// visit every bit field of a block in both orders; copying one way is the repacking, copying the other way undoes it.
// Fields move many at a time, and the stages of 16 rows become a panel's vectors at the end.
#include "formats.h"
#define GGML_COMMON_DECL_C
#include "ggml-common.h"
#include <cstring>

namespace corral {
namespace {

enum Way { kRepack, kUnpack };

// Moves `bits` bits of each of n neighbouring bytes between the stage and a block. The goal's bits are zeros before.
template <Way way, int n, class Word = uint64_t> inline void move(uint8_t * stage, int stage_shift, uint8_t * block, int block_shift, int bits) {
    static_assert(n % sizeof(Word) == 0);
    const Word mask = Word(Word(~Word(0)) / 255 * ((1u << bits) - 1));
    for (int i = 0; i < n; i += int(sizeof(Word))) {
        Word s, b;
        memcpy(&s, stage + i, sizeof s);
        memcpy(&b, block + i, sizeof b);
        if (way == kRepack) s |= (b >> block_shift & mask) << stage_shift;
        else b |= (s >> stage_shift & mask) << block_shift;
        memcpy(way == kRepack ? stage + i : block + i, way == kRepack ? &s : &b, sizeof s);
    }
}
template <Way way, int n> inline void move_bytes(uint8_t * stage, uint8_t * block) { memcpy(way == kRepack ? stage : block, way == kRepack ? block : stage, n); }
template <Way way, class T> inline void move_whole(T & panel, T & block) {
    if (way == kRepack) panel = block;
    else block = panel;
}

// Exchanges the fields of `bits` bits that mirror each other: field f of each byte of words[w] and field w of words[f].
// There are as many words as a byte has fields. It is its own inverse.
template <int bits> inline void transpose_fields(uint32_t * words) {
    constexpr int n = 8 / bits;
    for (int step = n / 2; step > 0; step /= 2) {
        // The fields whose number has not the bit `step`, in every byte.
        const uint32_t mask = 0x01010101u * (step * bits == 4 ? 0x0fu : step * bits == 2 ? 0x33u : 0x55u);
        for (int w = 0; w < n; w++) {
            if (w & step) continue;
            const uint32_t differing = (words[w] >> (step * bits) ^ words[w + step]) & mask;
            words[w + step] ^= differing;
            words[w] ^= differing << (step * bits);
        }
    }
}

// The 6-bit scales of Q4_K and Q5_K. Bytes of a word of a stage are spans 0-3 or 4-7.
struct StageScales {
    uint8_t low[2][4], high[4];                  // of scales, as in a panel's bytes
    uint8_t minimum_low[2][4], minimum_high[4];  // of minimums
};
template <Way way> void move_scales(StageScales & stage, uint8_t * block) {
    move<way, 4, uint32_t>(stage.low[0], 0, block, 0, 4);
    move<way, 4, uint32_t>(stage.low[1], 0, block + 8, 0, 4);
    move<way, 4, uint32_t>(stage.high, 0, block, 4, 4);  // ggml, too, has bits 4-5 of span j beside those of span j + 4
    move<way, 4, uint32_t>(stage.minimum_low[0], 4, block + 4, 0, 4);
    move<way, 4, uint32_t>(stage.minimum_low[1], 4, block + 8, 4, 4);
    move<way, 4, uint32_t>(stage.minimum_high, 4, block + 4, 4, 4);
}
// The same between a stage and row r of a panel: bytes of scales are [span][row], of minimums [pair of spans][row][2].
template <Way way> void move_row(uint8_t * panel, int r, uint8_t * scales, uint8_t * minimums) {
    for (int j = 0; j < 4; j++) {
        uint8_t & scale = panel[j * 16 + r], & minimum = panel[j / 2 * 32 + r * 2 + j % 2];
        if (way == kRepack) {
            scale = uint8_t(scale | scales[j]);
            minimum = uint8_t(minimum | minimums[j]);
        } else {
            scales[j] = scale & 0x0f;
            minimums[j] = minimum & 0xf0;
        }
    }
}
template <Way way> void visit_scales(Scales6 & panel, uint8_t * block, int r) {
    StageScales stage = {};
    auto move_rows = [&] {
        for (int i = 0; i < 2; i++) move_row<way>(panel.low + 64 * i, r, stage.low[i], stage.minimum_low[i]);
        move_row<way>(panel.high, r, stage.high, stage.minimum_high);
    };
    if (way == kUnpack) move_rows();
    move_scales<way>(stage, block);
    if (way == kRepack) move_rows();
}

// A panel's struct begins with its weights, `kWords` vectors of a 32-bit word of each row. `visit_weights` moves a row's
// words, `visit_rest` what else there is of it.

template <class P, class B> struct WithMinimums {  // Q4_K and Q5_K
    using Panel = P;
    using Block = B;
    static constexpr int kWords = sizeof(Panel::q) / (4 * kRows);
    template <Way way> static void visit_rest(Panel & panel, uint16_t *, Block & block, int r) {
        move_whole<way>(panel.d[r], block.d);
        move_whole<way>(panel.dmin[r], block.dmin);
        visit_scales<way>(panel.scales, block.scales, r);
    }
    // Moves the low 4 bits of all weights; a span's are `stride` bytes of the stage apart.
    template <Way way, int stride> static void visit_nibbles(uint8_t * stage, Block & block) {
        for (int j = 0; j < 8; j++)
            for (int half = 0; half < 2; half++) move<way, 16>(stage + j * stride, half * 4, block.qs + j / 2 * 32 + half * 16, j % 2 * 4, 4);
    }
};

struct Q4K : WithMinimums<PanelQ4K, block_q4_K> {
    template <Way way> static void visit_weights(uint8_t * stage, Block & block) {
        visit_nibbles<way, 16>(stage, block);
    }
};

struct Q5K : WithMinimums<PanelQ5K, block_q5_K> {
    template <Way way> static void visit_weights(uint8_t * stage, Block & block) {
        uint32_t fifths[8];  // ggml: bit j of a byte of word `quad`; a panel: bit `quad` of a byte of word j
        auto move_fifths = [&] {
            for (int j = 0; j < 8; j++) move_bytes<way, 4>(stage + j * 20 + 16, (uint8_t *) &fifths[j]);
        };
        if (way == kRepack) memcpy(fifths, block.qh, sizeof fifths);
        else move_fifths();
        transpose_fields<1>(fifths);
        if (way == kRepack) move_fifths();
        else memcpy(block.qh, fifths, sizeof fifths);
        visit_nibbles<way, 20>(stage, block);
    }
};

struct Q6K {
    using Panel = PanelQ6K;
    using Block = block_q6_K;
    static constexpr int kWords = sizeof(Panel::q) / (4 * kRows);
    template <Way way> static void visit_weights(uint8_t * stage, Block & block) {
        for (int part = 0; part < 4; part++) {  // 16 inputs at the same place in 4 groups of 32
            uint32_t pairs[4];                  // ggml: pair `group` of word `quad`; a panel: pair `quad` of word `group`
            auto * high = block.qh + part * 16;
            auto at = [&](int group) { return stage + (part / 2 * 8 + group * 2 + part % 2) * 12; };
            auto move_pairs = [&] {
                for (int group = 0; group < 4; group++) move_bytes<way, 4>(at(group) + 8, (uint8_t *) &pairs[group]);
            };
            if (way == kRepack) memcpy(pairs, high, sizeof pairs);
            else move_pairs();
            transpose_fields<2>(pairs);
            if (way == kRepack) move_pairs();
            else memcpy(high, pairs, sizeof pairs);
            for (int group = 0; group < 4; group++) {
                auto * low = block.ql + part / 2 * 64 + group % 2 * 32 + part % 2 * 16;
                for (int half = 0; half < 2; half++) move<way, 8>(at(group), half * 4, low + half * 8, group / 2 * 4, 4);
            }
        }
    }
    template <Way way> static void visit_rest(Panel & panel, uint16_t * d, Block & block, int r) {
        move_whole<way>(d[r], block.d);
        for (int j = 0; j < 16; j++) move_whole<way>(panel.scales[j / 2][r][j % 2], block.scales[j]);
    }
};

struct IQ4XS {
    using Panel = PanelIQ4XS;
    using Block = block_iq4_xs;
    static constexpr int kWords = sizeof(Block::qs) / 4;
    template <Way way> static void visit_weights(uint8_t * stage, Block & block) { move_bytes<way, 128>(stage, block.qs); }
    template <Way way> static void visit_rest(Panel & panel, uint16_t * d, Block & block, int r) {
        move_whole<way>(d[r], block.d);
        auto * high = (uint8_t *) &block.scales_h;
        for (int j = 0; j < 8; j++) {
            move<way, 1, uint8_t>(&panel.low[j % 4 * 16 + r], j / 4 * 4, &block.scales_l[j / 2], j % 2 * 4, 4);
            move<way, 1, uint8_t>(&panel.high[j % 2 * 16 + r], j / 2 * 2, &high[j / 4], j % 4 * 2, 2);
        }
    }
};

template <class B, class P> struct Plain {  // Q4_0, IQ4_NL and Q8_0: ggml's bytes are in the order of a panel
    using Panel = P;
    using Block = B;
    static constexpr int kWords = sizeof(Block::qs) / 4;
    template <Way way> static void visit_weights(uint8_t * stage, Block & block) { move_bytes<way, sizeof block.qs>(stage, (uint8_t *) block.qs); }
    template <Way way> static void visit_rest(Panel &, uint16_t * d, Block & block, int r) { move_whole<way>(d[r], block.d); }
};

struct Half {  // F16 and BF16: halves aren't words, and move one by one
    using Panel = PanelHalf;
    struct Block {
        uint16_t q[kSpan];
    };
    static constexpr int kWords = 0;
    template <Way way> static void visit_weights(uint8_t *, Block &) {}
    template <Way way> static void visit_rest(Panel & panel, uint16_t *, Block & block, int r) {
        for (int i = 0; i < kSpan; i++) move_whole<way>(panel.q[i][r], block.q[i]);
    }
};

template <class F> constexpr int block_size() { return sizeof(typename F::Panel) >= 16 * 128 ? kBlock : kSpan; }

template <class F> struct Stage {
    alignas(16) uint8_t rows[kRows][F::kWords > 0 ? 4 * F::kWords : 1];
};

// Moves between the stages of 16 rows and the panel's vectors, two words of two rows at a time.
template <Way way, class F> inline void move_weights(Stage<F> & stage, typename F::Panel & panel) {
    constexpr uint64_t low = 0xffffffffu;
    static_assert(F::kWords % 2 == 0);
    for (int w = 0; w < F::kWords; w += 2)
        for (int r = 0; r < kRows; r += 2) {
            uint8_t * of_rows[2] = { stage.rows[r] + w * 4, stage.rows[r + 1] + w * 4 };
            uint8_t * of_words[2] = { (uint8_t *) &panel + (w * kRows + r) * 4, (uint8_t *) &panel + ((w + 1) * kRows + r) * 4 };
            uint64_t a, b;
            memcpy(&a, (way == kRepack ? of_rows : of_words)[0], sizeof a);
            memcpy(&b, (way == kRepack ? of_rows : of_words)[1], sizeof b);
            const uint64_t firsts = (a & low) | b << 32, seconds = a >> 32 | (b & ~low);
            memcpy((way == kRepack ? of_words : of_rows)[0], &firsts, sizeof firsts);
            memcpy((way == kRepack ? of_words : of_rows)[1], &seconds, sizeof seconds);
        }
}

template <class F> void repack(char * to, const char * from, int64_t k, int64_t rows, int64_t first, int64_t last) {
    constexpr size_t weights = size_t(4 * kRows) * F::kWords;
    const int64_t n = k / block_size<F>();
    auto * panels = (typename F::Panel *) to;
    auto * d = (uint16_t *) (to + panels_of(rows) * n * int64_t(sizeof *panels));
    for (int64_t p = first; p < last; p++)
        for (int64_t b = 0; b < n; b++) {
            auto & panel = panels[p * n + b];
            Stage<F> stage = {};
            memset((char *) &panel + weights, 0, sizeof panel - weights);
            for (int r = 0; r < kRows; r++) {
                const int64_t row = p * kRows + r;
                typename F::Block zeros = {};
                auto & block = row < rows ? ((typename F::Block *) from)[row * n + b] : zeros;  // not written
                F::template visit_weights<kRepack>(stage.rows[r], block);
                F::template visit_rest<kRepack>(panel, d + (p * n + b) * kRows, block, r);
            }
            move_weights<kRepack, F>(stage, panel);
        }
}

template <class F> void unpack(char * to, const char * from, int64_t k, int64_t rows) {
    const int64_t n = k / block_size<F>();
    auto * panels = (typename F::Panel *) from;
    auto * d = (uint16_t *) (from + panels_of(rows) * n * int64_t(sizeof *panels));
    for (int64_t at = 0; at < panels_of(rows) * n; at++) {
        Stage<F> stage;
        move_weights<kUnpack, F>(stage, panels[at]);
        for (int64_t row = at / n * kRows, r = 0; r < kRows && row + r < rows; r++) {
            auto & block = ((typename F::Block *) to)[(row + r) * n + at % n] = {};
            F::template visit_weights<kUnpack>(stage.rows[r], block);
            F::template visit_rest<kUnpack>(panels[at], d + at * kRows, block, int(r));
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
    info<Plain<block_q4_0, PanelQ4>>(GGML_TYPE_Q4_0, kShape32, true),
    info<Plain<block_iq4_nl, PanelQ4>>(GGML_TYPE_IQ4_NL, kShape32, true),
    info<Plain<block_q8_0, PanelQ8>>(GGML_TYPE_Q8_0, kShape32, true),
    info<Half>(GGML_TYPE_F16, kShapeFloats, false),
    info<Half>(GGML_TYPE_BF16, kShapeFloats, false),
};

const FormatInfo * format_of(ggml_type type) {
    for (const auto & f : formats)
        if (f.type == type) return &f;
    return nullptr;
}

}  // namespace corral
