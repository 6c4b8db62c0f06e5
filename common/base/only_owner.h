// Whether memory that was shared may be written again.
#pragma once

#include <memory>

namespace tactus {

// Whether `shared` is all that is left of what it points to; not so where it is null. Then all that the others did with
// it has happened before this returns. Thread-safe as long as nobody else can copy `shared` itself.
template <typename T>
bool OnlyOwner(const std::shared_ptr<T>& shared) {
  if (shared.use_count() != 1) return false;
  const std::shared_ptr<const void> counted = shared;  // counting acquires what the last of the others released
  return true;
}

}  // namespace tactus
