// The pages of a mapped file, found in the system's list of mappings.
#include "file_pages.h"
#include <algorithm>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace corral {
namespace {

struct Range {
    uintptr_t first, end;
};

// The part of a range that belongs to a shared mapping without writing; empty if its beginning belongs to none. What is
// in such a mapping is kept elsewhere.
Range file_part(Range wanted) {
    Range part = { 0, 0 };
    FILE * maps = fopen("/proc/self/maps", "re");
    if (maps == nullptr) return part;
    char line[512], access[5];
    bool is_begin = true;  // of a line, which may be longer than the buffer
    while (fgets(line, sizeof line, maps) != nullptr) {
        Range one;
        if (is_begin && sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &one.first, &one.end, access) == 3 && one.first <= wanted.first && wanted.first < one.end) {
            if (access[1] == '-' && access[3] == 's') part = { wanted.first, std::min(wanted.end, one.end) };
            break;
        }
        is_begin = strchr(line, '\n') != nullptr;
    }
    fclose(maps);
    return part;
}

}  // namespace

FilePages::FilePages(const void * data, size_t size) {
    const auto part = file_part({ uintptr_t(data), uintptr_t(data) + size });
    const auto page = uintptr_t(sysconf(_SC_PAGESIZE));
    first = (part.first + page - 1) / page * page;  // others' bytes stay
    end = part.end / page * page;
}

void FilePages::drop(const void * from, const void * to) const {
    const auto page = uintptr_t(sysconf(_SC_PAGESIZE));
    const uintptr_t begin = std::max(first, uintptr_t(from) / page * page), until = std::min(end, uintptr_t(to) / page * page);
    if (begin < until) madvise((void *) begin, until - begin, MADV_DONTNEED);  // fails where the file is locked, as it should
}

}  // namespace corral
