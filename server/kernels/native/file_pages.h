// The pages of a model's file that are in memory only because it is being loaded.
#pragma once
#include <cstddef>

namespace corral {

// Takes [data, data + size) out of this process where it is a file's, mapped to be read: it comes back when it is read
// again. Other memory is left alone. While a model is loaded its weights are then in memory once, not twice.
void drop_file_pages(const void * data, size_t size);

}  // namespace corral
