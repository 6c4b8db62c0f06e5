// The fuzz targets, and what they share. A target is a function that takes any bytes; what Require or a sanitizer
// objects to is a fault. libFuzzer calls them in the preset `fuzz` (libfuzzer_entry.cc, scripts/fuzz.sh),
// fuzz_corpus_test in all others. Nothing here is thread-safe: both have one thread.
#pragma once

#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace tactus::fuzz {

// Each in the file of its name, which says what the bytes are; its corpus is the folder of that name. May keep what is
// expensive to make in a static.
void FuzzAnswers(absl::string_view input);
void FuzzChatTemplateFiles(absl::string_view input);
void FuzzIncomingWeights(absl::string_view input);
void FuzzJsonLines(absl::string_view input);
void FuzzManifest(absl::string_view input);
void FuzzModelConfigFiles(absl::string_view input);
void FuzzParquetRows(absl::string_view input);
void FuzzRunConfigText(absl::string_view input);
void FuzzSafetensors(absl::string_view input);
void FuzzState(absl::string_view input);
void FuzzStudyPlan(absl::string_view input);
void FuzzSubmissionLogSegment(absl::string_view input);
void FuzzTokenizerJson(absl::string_view input);
void FuzzWeightDelta(absl::string_view input);
void FuzzWireMessages(absl::string_view input);

// Ends the process, which libFuzzer reports with the input at hand.
void Require(bool holds, const char* what);

// The text before the first NUL and the text after it, for targets that read two things.
std::pair<std::string, std::string> SplitAtNul(absl::string_view input);

// A file of any content for readers that want a path: in memory, rewritten for each input.
class InputFile {
 public:
  InputFile();
  InputFile(const InputFile&) = delete;
  const std::string& path() const { return path_; }
  void Write(absl::string_view content);

 private:
  int fd_;
  std::string path_;
};

// An empty folder in /dev/shm for readers that want a folder; Clear removes what is in it.
class InputFolder {
 public:
  InputFolder();
  ~InputFolder();
  InputFolder(const InputFolder&) = delete;
  const std::string& path() const { return path_; }
  void Clear();
  void Write(absl::string_view name, absl::string_view content);

 private:
  std::string path_;
};

}  // namespace tactus::fuzz
