// A digest of bytes in GPU memory, made where they lie: whether a copy is what its owner had. It finds what is torn,
// zeroed, moved or changed by chance; it is no defence against somebody who means to deceive.
#pragma once

#include <cstdint>
#include <span>

namespace tactus {

inline constexpr int64_t kMostDigestParts = 1024;
// How many parts the digest of so many bytes is made in.
int64_t DigestParts(int64_t bytes);

// Enqueues on the current queue: parts [DigestParts(bytes)] of the digest of `data`, which starts 8-byte aligned. Both
// are device memory.
void DigestContent(const void* data, int64_t bytes, uint64_t* parts);

// The digest, from its parts on the host.
uint64_t DigestOf(std::span<const uint64_t> parts);

}  // namespace tactus
