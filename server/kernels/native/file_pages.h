// The pages of a model's file that are in memory only because it is being loaded.
#pragma once
#include <cstddef>
#include <cstdint>

namespace corral {

// Memory that may be a file's, mapped to be read: then what was read can be dropped, and comes back when it is read
// again. Other memory is left alone. While a model is loaded its weights are then in memory once, not twice.
class FilePages {
  public:
    FilePages(const void * data, size_t size);
    // Drops the whole pages between two places. Any thread may call it, also while others read the pages beside.
    void drop(const void * from, const void * to) const;

  private:
    uintptr_t first, end;  // of what may be dropped
};

}  // namespace corral
