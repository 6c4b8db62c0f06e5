// Whether a sanitizer is compiled in, for tests of what its runtime does not leave alone.
#pragma once

namespace tactus {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace tactus
