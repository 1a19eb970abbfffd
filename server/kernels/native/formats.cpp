// Panels from ggml's blocks and back, in portable code: it runs once for each matrix that is loaded.
//
// Each format has one function that visits every bit field of a block in both layouts; copying one way is the
// repacking, copying the other way undoes it.
#include "formats.h"
#define GGML_COMMON_DECL_C
#include "ggml-common.h"
#include <cstring>

namespace corral {
namespace {

// Copies `bits` bits between a field of ggml's block and one of a panel.
enum Way { kRepack, kUnpack };
template <Way way> inline void move(uint8_t & panel, int panel_shift, uint8_t & block, int block_shift, int bits) {
    const int mask = (1 << bits) - 1;
    if (way == kRepack) panel = uint8_t(panel | (block >> block_shift & mask) << panel_shift);
    else block = uint8_t(block | (panel >> panel_shift & mask) << block_shift);
}
// The same of four neighbouring weights, whose fields lie alike in four bytes.
template <Way way> inline void move_quad(uint8_t * panel, int panel_shift, uint8_t * block, int block_shift, int bits) {
    const uint32_t mask = 0x01010101u * uint32_t((1 << bits) - 1);
    uint32_t p, b;
    memcpy(&p, panel, 4);
    memcpy(&b, block, 4);
    if (way == kRepack) p |= (b >> block_shift & mask) << panel_shift;
    else b |= (p >> panel_shift & mask) << block_shift;
    memcpy(way == kRepack ? panel : block, way == kRepack ? &p : &b, 4);
}
template <Way way, class T> inline void move_whole(T & panel, T & block) {
    if (way == kRepack) panel = block;
    else block = panel;
}

// The 6-bit scales of Q4_K and Q5_K: of span j, ggml's bits 0-3 and 4-5 of the scale and of the minimum.
template <Way way> void move_scales(Scales6 & panel, uint8_t * block, int r) {
    for (int j = 0; j < 8; j++) {
        const int scale = j * 16 + r, minimum = (j / 2) * 32 + r * 2 + j % 2;
        uint8_t & scale_high = panel.high[scale % 64];
        uint8_t & minimum_high = panel.high[minimum % 64];
        const int scale_shift = scale < 64 ? 0 : 2, minimum_shift = minimum < 64 ? 4 : 6;
        if (j < 4) {
            move<way>(panel.low[scale], 0, block[j], 0, 4);
            move<way>(scale_high, scale_shift, block[j], 4, 2);
            move<way>(panel.low[minimum], 4, block[j + 4], 0, 4);
            move<way>(minimum_high, minimum_shift, block[j + 4], 4, 2);
        } else {
            move<way>(panel.low[scale], 0, block[j + 4], 0, 4);
            move<way>(scale_high, scale_shift, block[j - 4], 6, 2);
            move<way>(panel.low[minimum], 4, block[j + 4], 4, 4);
            move<way>(minimum_high, minimum_shift, block[j], 6, 2);
        }
    }
}

struct Q4K {
    using Panel = PanelQ4K;
    using Block = block_q4_K;
    template <Way way> static void visit(Panel & panel, uint16_t *, Block & block, int r) {
        move_whole<way>(panel.d[r], block.d);
        move_whole<way>(panel.dmin[r], block.dmin);
        move_scales<way>(panel.scales, block.scales, r);
        for (int j = 0; j < 8; j++)
            for (int quad = 0; quad < 8; quad++)
                move_quad<way>(panel.q[j][quad % 4] + r * 4, quad < 4 ? 0 : 4, block.qs + j / 2 * 32 + quad * 4, j % 2 * 4, 4);
    }
};

struct Q5K {
    using Panel = PanelQ5K;
    using Block = block_q5_K;
    template <Way way> static void visit(Panel & panel, uint16_t *, Block & block, int r) {
        move_whole<way>(panel.d[r], block.d);
        move_whole<way>(panel.dmin[r], block.dmin);
        move_scales<way>(panel.scales, block.scales, r);
        for (int j = 0; j < 8; j++)
            for (int quad = 0; quad < 8; quad++) {
                move_quad<way>(panel.q[j][quad % 4] + r * 4, quad < 4 ? 0 : 4, block.qs + j / 2 * 32 + quad * 4, j % 2 * 4, 4);
                move_quad<way>(panel.q[j][4] + r * 4, quad, block.qh + quad * 4, j, 1);
            }
    }
};

struct Q6K {
    using Panel = PanelQ6K;
    using Block = block_q6_K;
    template <Way way> static void visit(Panel & panel, uint16_t * d, Block & block, int r) {
        move_whole<way>(d[r], block.d);
        for (int j = 0; j < 16; j++) move_whole<way>(panel.scales[j / 2][r][j % 2], block.scales[j]);
        for (int i = 0; i < kBlock; i += 4) {
            const int half = i / 128, group = i % 128 / 32, at = i % 32, j = i / 16, quad = i / 4 % 4;
            move_quad<way>(panel.q[j][quad % 2] + r * 4, quad < 2 ? 0 : 4, block.ql + half * 64 + group % 2 * 32 + at, group < 2 ? 0 : 4, 4);
            move_quad<way>(panel.q[j][2] + r * 4, 2 * quad, block.qh + half * 32 + at, 2 * group, 2);
        }
    }
};

struct IQ4XS {
    using Panel = PanelIQ4XS;
    using Block = block_iq4_xs;
    template <Way way> static void visit(Panel & panel, uint16_t * d, Block & block, int r) {
        move_whole<way>(d[r], block.d);
        auto * high = (uint8_t *) &block.scales_h;
        for (int j = 0; j < 8; j++) {
            move<way>(panel.low[j % 4 * 16 + r], j / 4 * 4, block.scales_l[j / 2], j % 2 * 4, 4);
            move<way>(panel.high[j % 2 * 16 + r], j / 2 * 2, high[j / 4], j % 4 * 2, 2);
            for (int quad = 0; quad < 8; quad++)  // ggml: 16 low nibbles, then 16 high ones
                move_quad<way>(panel.spans[j].q[quad % 4] + r * 4, quad < 4 ? 0 : 4, block.qs + 16 * j + quad % 4 * 4, quad / 4 * 4, 4);
        }
    }
};

template <class B> struct Q4 {  // Q4_0 and IQ4_NL
    using Panel = PanelQ4;
    using Block = B;
    template <Way way> static void visit(Panel & panel, uint16_t * d, Block & block, int r) {
        move_whole<way>(d[r], block.d);
        for (int quad = 0; quad < 8; quad++)
            move_quad<way>(panel.q[quad % 4] + r * 4, quad < 4 ? 0 : 4, block.qs + quad % 4 * 4, quad / 4 * 4, 4);
    }
};

struct Q80 {
    using Panel = PanelQ8;
    using Block = block_q8_0;
    template <Way way> static void visit(Panel & panel, uint16_t * d, Block & block, int r) {
        move_whole<way>(d[r], block.d);
        for (int quad = 0; quad < 8; quad++) move_quad<way>((uint8_t *) panel.q[quad] + r * 4, 0, (uint8_t *) block.qs + quad * 4, 0, 8);
    }
};

struct Half {  // F16 and BF16
    using Panel = PanelHalf;
    struct Block {
        uint16_t q[kSpan];
    };
    template <Way way> static void visit(Panel & panel, uint16_t *, Block & block, int r) {
        for (int i = 0; i < kSpan; i++) move_whole<way>(panel.q[i][r], block.q[i]);
    }
};

template <class F> constexpr int block_size() { return sizeof(typename F::Panel) >= 16 * 128 ? kBlock : kSpan; }

template <class F> void repack(char * to, const char * from, int64_t k, int64_t rows, int64_t first, int64_t last) {
    const int64_t n = k / block_size<F>();
    auto * panels = (typename F::Panel *) to;
    auto * d = (uint16_t *) (to + panels_of(rows) * n * int64_t(sizeof *panels));
    for (int64_t p = first; p < last; p++) {
        memset((void *) (panels + p * n), 0, size_t(n) * sizeof *panels);
        for (int64_t b = 0; b < n; b++)
            for (int r = 0; r < kRows; r++) {
                const int64_t row = p * kRows + r;
                typename F::Block block = {};
                if (row < rows) memcpy(&block, (const typename F::Block *) from + row * n + b, sizeof block);
                F::template visit<kRepack>(panels[p * n + b], d + (p * n + b) * kRows, block, r);
            }
    }
}

template <class F> void unpack(char * to, const char * from, int64_t k, int64_t rows) {
    const int64_t n = k / block_size<F>();
    auto * panels = (typename F::Panel *) from;
    auto * d = (uint16_t *) (from + panels_of(rows) * n * int64_t(sizeof *panels));
    for (int64_t row = 0; row < rows; row++)
        for (int64_t b = 0; b < n; b++) {
            const int64_t at = row / kRows * n + b;
            typename F::Block block = {};
            F::template visit<kUnpack>(panels[at], d + at * kRows, block, int(row % kRows));
            memcpy((typename F::Block *) to + row * n + b, &block, sizeof block);
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
    info<Q4<block_q4_0>>(GGML_TYPE_Q4_0, kShape32, true),
    info<Q4<block_iq4_nl>>(GGML_TYPE_IQ4_NL, kShape32, true),
    info<Q80>(GGML_TYPE_Q8_0, kShape32, true),
    info<Half>(GGML_TYPE_F16, kShapeFloats, false),
    info<Half>(GGML_TYPE_BF16, kShapeFloats, false),
};

const FormatInfo * format_of(ggml_type type) {
    for (const auto & f : formats)
        if (f.type == type) return &f;
    return nullptr;
}

}  // namespace corral
