// The instruction sets in the order of preference, and whether the processor and the system have them.
#include "sets/sets.h"
#include <array>
#include <iterator>
#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace corral {
namespace {

#if defined(__x86_64__)

struct Cpuid {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    Cpuid(unsigned leaf, unsigned subleaf) {
        if (__get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx) == 0) *this = {};
    }
    Cpuid() = default;
};

}  // namespace

// The compilers' library asks the system, too, whether it keeps the registers of AVX and AVX512. Some features' names
// are unknown to some compilers: they are asked for by their bits.
bool has_avx2() {
    constexpr unsigned kHalves = 1u << 29;  // F16C
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && (Cpuid(1, 0).ecx & kHalves) != 0;
}

namespace {

bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}

bool has_avx_vnni() { return has_avx2() && Cpuid(7, 0).eax >= 1 && (Cpuid(7, 1).eax & 1u << 4) != 0; }

// Tiles are eight kilobytes of state for each thread: Linux gives them to processes that ask.
bool has_amx() {
#if defined(__linux__)
    constexpr unsigned kSavesState = 1u << 27, kTile = 1u << 24, kInt8 = 1u << 25;
    constexpr unsigned kTileState = 3u << 17;  // of the registers that the system keeps
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    if (!has_avx512() || (Cpuid(1, 0).ecx & kSavesState) == 0 || (~Cpuid(7, 0).edx & (kTile | kInt8)) != 0) return false;
    unsigned low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (~low & kTileState) == 0 && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

#elif defined(__aarch64__)

#if defined(__APPLE__)
bool has_feature(const char * name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}
bool has_dotprod() { return has_feature("hw.optional.arm.FEAT_DotProd"); }
bool has_i8mm() { return has_dotprod() && has_feature("hw.optional.arm.FEAT_I8MM"); }
#elif defined(__linux__)
constexpr unsigned long kDotprod = 1ul << 20, kI8mm = 1ul << 13;  // HWCAP_ASIMDDP and HWCAP2_I8MM, which old headers lack
bool has_dotprod() { return (getauxval(AT_HWCAP) & kDotprod) != 0; }
bool has_i8mm() { return has_dotprod() && (getauxval(AT_HWCAP2) & kI8mm) != 0; }
#else
bool has_dotprod() { return false; }
bool has_i8mm() { return false; }
#endif

#endif

const Candidate all[] = {
#if defined(__x86_64__)
    { &set_amx, has_amx },
    { &set_avx512, has_avx512 },
    { &set_avx_vnni, has_avx_vnni },
    { &set_avx2, has_avx2 },
#elif defined(__aarch64__)
    { &set_neon_i8mm, has_i8mm },
    { &set_neon_dotprod, has_dotprod },
#endif
    { nullptr, nullptr },
};

}  // namespace

const Candidate * candidates() {
    static const auto built = [] {
        std::array<Candidate, std::size(all)> built = {};
        size_t n = 0;
        for (const auto & candidate : all)
            if (candidate.set != nullptr) built[n++] = candidate;
        return built;
    }();
    return built.data();
}

}  // namespace corral
