// A disk for the submission log that forgets, at a crash, what was not synced: all of it, or all but a torn beginning.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "learner/ledger/segment_store.h"

namespace tactus {

// Outlives the stores that work on it, as a disk does the processes.
struct SimDisk {
  struct File {
    std::string synced;
    std::string pending;
  };
  std::map<uint64_t, File> files;
  // Asked before each write and sync; true: it fails.
  std::function<bool()> fails = [] { return false; };

  // `kept(n)`: how many of n bytes a crash leaves of what was not synced.
  void Crash(const std::function<size_t(size_t)>& kept) {
    for (auto& [segment, file] : files) {
      file.synced += file.pending.substr(0, kept(file.pending.size()));
      file.pending.clear();
    }
  }
};

class SimStore final : public SegmentStore {
 public:
  explicit SimStore(SimDisk* disk) : disk_(*disk) {}

  absl::StatusOr<std::vector<uint64_t>> List() const override {
    std::vector<uint64_t> segments;
    for (const auto& [segment, file] : disk_.files) segments.push_back(segment);
    return segments;
  }
  absl::StatusOr<uint64_t> Size(uint64_t segment) const override {
    const SimDisk::File& file = disk_.files.at(segment);
    return file.synced.size() + file.pending.size();
  }
  absl::Status Create(uint64_t segment) override {
    written_ = nullptr;
    if (disk_.fails()) return absl::UnavailableError("the disk fails");
    written_ = &disk_.files[segment];
    return absl::OkStatus();
  }
  absl::Status Write(std::span<const absl::string_view> pieces) override {
    for (const absl::string_view piece : pieces) {
      if (disk_.fails()) return absl::UnavailableError("the disk fails");
      absl::StrAppend(&written_->pending, piece);
    }
    return absl::OkStatus();
  }
  absl::Status Sync() override {
    if (disk_.fails()) return absl::UnavailableError("the disk fails");
    written_->synced += std::exchange(written_->pending, {});
    return absl::OkStatus();
  }
  void Close() override { written_ = nullptr; }
  absl::StatusOr<size_t> Read(uint64_t segment, uint64_t offset, std::span<char> to) const override {
    const SimDisk::File& file = disk_.files.at(segment);
    const std::string all = file.synced + file.pending;
    const size_t count = std::min(to.size(), all.size() - std::min<size_t>(offset, all.size()));
    std::copy_n(all.begin() + static_cast<int64_t>(offset), count, to.begin());
    return count;
  }
  absl::Status Remove(std::span<const uint64_t> segments) override {
    for (const uint64_t segment : segments) disk_.files.erase(segment);
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> KeepAside(uint64_t segment) const override { return Name(segment); }
  std::string Name(uint64_t segment) const override { return absl::StrCat("segment ", segment); }

 private:
  SimDisk& disk_;
  SimDisk::File* written_ = nullptr;
};

}  // namespace tactus
