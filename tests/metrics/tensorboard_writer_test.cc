// Reads an event file back with a reader of its own, written from the formats' descriptions.
#include "common/metrics/tensorboard_writer.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "gtest/gtest.h"

namespace tactus {
namespace {

struct Event {
  double wall_time = 0;
  int64_t step = 0;
  std::string file_version, session;
  std::map<std::string, float> scalars;
};

// A minimal protobuf reader: calls visit(number, wire type, varint value, bytes).
template <typename Visit>
void ReadMessage(absl::string_view in, const Visit& visit) {
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      const uint8_t byte = static_cast<uint8_t>(in.at(at++));
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < in.size()) {
    const uint64_t key = varint();
    const int wire = static_cast<int>(key & 7);
    if (wire == 0) {
      visit(key >> 3, wire, varint(), absl::string_view());
      continue;
    }
    const size_t size = wire == 1 ? 8 : wire == 5 ? 4 : varint();
    visit(key >> 3, wire, 0, in.substr(at, size));
    at += size;
  }
}

void ReadSummary(absl::string_view summary, Event* event) {
  ReadMessage(summary, [event](uint64_t, int, uint64_t, absl::string_view value) {
    std::string tag;
    float number = 0;
    ReadMessage(value, [&](uint64_t field, int, uint64_t, absl::string_view bytes) {
      if (field == 1) tag = std::string(bytes);
      if (field == 2) std::memcpy(&number, bytes.data(), 4);
    });
    event->scalars[tag] = number;
  });
}

uint32_t Unmask(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8u;
  return (rotated >> 17) | (rotated << 15);
}

std::vector<Event> ReadEvents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  const std::string file = text.str();
  std::vector<Event> events;
  for (size_t at = 0; at < file.size();) {
    uint64_t size = 0;
    uint32_t size_crc = 0, crc = 0;
    std::memcpy(&size, &file.at(at), 8);
    std::memcpy(&size_crc, &file.at(at + 8), 4);
    EXPECT_EQ(Crc32c(file.substr(at, 8)), Unmask(size_crc));
    const std::string body = file.substr(at + 12, size);
    std::memcpy(&crc, &file.at(at + 12 + size), 4);
    EXPECT_EQ(Crc32c(body), Unmask(crc));
    Event& event = events.emplace_back();
    ReadMessage(body, [&event](uint64_t field, int, uint64_t value, absl::string_view bytes) {
      if (field == 1) std::memcpy(&event.wall_time, bytes.data(), 8);
      if (field == 2) event.step = static_cast<int64_t>(value);
      if (field == 3) event.file_version = std::string(bytes);
      if (field == 5) ReadSummary(bytes, &event);
      if (field == 7) event.session = std::string(bytes);
    });
    at += 16 + size;
  }
  return events;
}

// RFC 3720, appendix B.4, and the usual check value.
TEST(Crc32cTest, PublishedVectors) {
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62A8AB43u);
  EXPECT_EQ(Crc32c(""), 0u);
}

TEST(TensorBoardWriterTest, WhatIsWrittenReadsBack) {
  const std::string folder = ::testing::TempDir() + "/tensorboard_writer_test";
  std::filesystem::remove_all(folder);
  {
    auto writer = TensorBoardWriter::Open(folder, 300).value();
    StepRecord record;
    record.step = 300;
    record.reward_mean = 0.25;
    record.loss = std::nan("");
    record.phase_wait_s = 1.5;
    record.mismatch_max = 0;
    record.staleness_mean = 2;
    record.tis_mean = 1;
    ASSERT_TRUE(writer->WriteStep(record).ok());
    ASSERT_TRUE(writer->WriteScalar(301, "eval/pass1", -0.5).ok());
  }
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path().string());
  ASSERT_EQ(files.size(), 1u);
  EXPECT_NE(files[0].find("events.out.tfevents."), std::string::npos);
  const std::vector<Event> events = ReadEvents(files[0]);
  ASSERT_EQ(events.size(), 8u);
  EXPECT_EQ(events[0].file_version, "brain.Event:2");
  EXPECT_GT(events[0].wall_time, 1.6e9);
  EXPECT_EQ(events[1].session, std::string("\x08\x01", 2));
  EXPECT_EQ(events[1].step, 300);
  std::map<std::string, float> scalars;
  for (size_t i = 2; i + 1 < events.size(); ++i) {
    EXPECT_EQ(events[i].step, 300);
    scalars.insert(events[i].scalars.begin(), events[i].scalars.end());
  }
  EXPECT_EQ(scalars.at("train/reward_mean"), 0.25f);
  EXPECT_EQ(scalars.at("time/phase_wait_s"), 1.5f);
  EXPECT_EQ(scalars.at("health/mismatch_max"), 0.0f);
  EXPECT_EQ(scalars.at("health/staleness_mean"), 2.0f);
  EXPECT_EQ(scalars.at("health/tis_mean"), 1.0f);
  EXPECT_EQ(scalars.size(), 5u) << "what is not measured is left out";
  EXPECT_FALSE(scalars.contains("train/loss")) << "NaN is left out";
  EXPECT_FALSE(scalars.contains("eval/pass1")) << "not evaluated in this step";
  EXPECT_EQ(events.back().step, 301);
  EXPECT_EQ(events.back().scalars.at("eval/pass1"), -0.5f);
}

TEST(TensorBoardWriterTest, AFolderThatCannotBeMadeIsNamed) {
  const absl::Status status = TensorBoardWriter::Open("/dev/null/tensorboard", 0).status();
  EXPECT_NE(status.message().find("/dev/null/tensorboard"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace tactus
