// What the ranks of a group can read of each other when the group itself does not work: a few short texts by key.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tactus {

// Thread-safe, but a call may hang with the machine of rank 0, which holds the board, and others then wait behind it.
class RankBoard {
 public:
  virtual ~RankBoard() = default;
  virtual absl::Status Write(const std::string& key, const std::string& value) = 0;  // does not wait for an answer
  virtual absl::StatusOr<std::string> Read(const std::string& key) = 0;              // "" when nobody wrote it
  virtual absl::StatusOr<int64_t> Increment(const std::string& key) = 0;             // from 0; the new value
  // The same board over a connection of its own; within a second or two or not at all.
  virtual absl::StatusOr<std::unique_ptr<RankBoard>> Reopen() const = 0;
};

}  // namespace tactus
