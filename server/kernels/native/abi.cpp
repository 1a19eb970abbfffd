// What this library was compiled against: versions, and the layouts of ggml's structs that it reads.
#include "ggml-backend-impl.h"
#include "ggml-cpu/traits.h"
#include "interface.h"
#include <cstddef>

namespace {

const corral_layout layouts[] = {
    { "ggml_tensor", sizeof(ggml_tensor) },
    { "ggml_tensor.type", offsetof(ggml_tensor, type) },
    { "ggml_tensor.buffer", offsetof(ggml_tensor, buffer) },
    { "ggml_tensor.ne", offsetof(ggml_tensor, ne) },
    { "ggml_tensor.nb", offsetof(ggml_tensor, nb) },
    { "ggml_tensor.op", offsetof(ggml_tensor, op) },
    { "ggml_tensor.op_params", offsetof(ggml_tensor, op_params) },
    { "ggml_tensor.src", offsetof(ggml_tensor, src) },
    { "ggml_tensor.data", offsetof(ggml_tensor, data) },
    { "ggml_backend_buffer_type", sizeof(ggml_backend_buffer_type) },
    { "ggml_backend_buffer_type.device", offsetof(ggml_backend_buffer_type, device) },
    { "ggml_backend_buffer_type.context", offsetof(ggml_backend_buffer_type, context) },
    { "ggml_backend_buffer", sizeof(ggml_backend_buffer) },
    { "ggml_backend_buffer.buft", offsetof(ggml_backend_buffer, buft) },
    { "ggml_backend_buffer.size", offsetof(ggml_backend_buffer, size) },
    { "ggml_compute_params", sizeof(ggml_compute_params) },
    { "ggml_compute_params.wdata", offsetof(ggml_compute_params, wdata) },
    { "ggml_compute_params.threadpool", offsetof(ggml_compute_params, threadpool) },
    { "GGML_TYPE_COUNT", GGML_TYPE_COUNT },
    { "GGML_OP_MUL_MAT", GGML_OP_MUL_MAT },
    { "GGML_OP_MUL_MAT_ID", GGML_OP_MUL_MAT_ID },
    { "GGML_OP_FLASH_ATTN_EXT", GGML_OP_FLASH_ATTN_EXT },
    { "GGML_OP_UNARY", GGML_OP_UNARY },
    { "GGML_OP_GLU", GGML_OP_GLU },
    { "GGML_UNARY_OP_GELU", GGML_UNARY_OP_GELU },
    { "GGML_GLU_OP_GEGLU", GGML_GLU_OP_GEGLU },
    { nullptr, 0 },
};

}  // namespace

extern "C" const char * corral_bindings_version() { return CORRAL_BINDINGS_VERSION; }
extern "C" const char * corral_ggml_version() { return CORRAL_GGML_VERSION; }
extern "C" const corral_layout * corral_layouts() { return layouts; }
