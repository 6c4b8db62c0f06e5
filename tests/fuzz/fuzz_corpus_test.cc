// Every fuzz target with its committed corpus, and with a fixed number of inputs made from it, the same each time: what
// libFuzzer does at length (scripts/fuzz.sh), in seconds and without clang. Under the preset asan this is a sanitizer's
// run.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "tests/fuzz/fuzz.h"
#include "tests/tree.h"

namespace tactus::fuzz {
namespace {

constexpr int kMade = 2000;        // inputs made for a target
constexpr size_t kLongest = 4096;  // bytes of one, as for libFuzzer

struct Target {
  const char* name;
  void (*run)(absl::string_view input);
};
constexpr Target kTargets[] = {
    {"answers", FuzzAnswers},
    {"chat_template", FuzzChatTemplateFiles},
    {"incoming_weights", FuzzIncomingWeights},
    {"jsonl", FuzzJsonLines},
    {"manifest", FuzzManifest},
    {"model_config", FuzzModelConfigFiles},
    {"parquet", FuzzParquetRows},
    {"run_config", FuzzRunConfigText},
    {"safetensors", FuzzSafetensors},
    {"state", FuzzState},
    {"study_plan", FuzzStudyPlan},
    {"submission_log", FuzzSubmissionLogSegment},
    {"tokenizer", FuzzTokenizerJson},
    {"weight_delta", FuzzWeightDelta},
    {"wire", FuzzWireMessages},
};

std::vector<std::string> Corpus(const std::string& name) {
  std::vector<std::string> paths, inputs;
  for (const auto& entry : std::filesystem::directory_iterator(SourcePath(absl::StrCat("tests/fuzz/corpus/", name))))
    paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) inputs.push_back(ReadFile(path).value());
  return inputs;
}

// Below `bound`, from the engine alone: the standard's distributions differ between libraries.
size_t Below(std::mt19937& random, size_t bound) { return bound == 0 ? 0 : random() % bound; }

// One change as libFuzzer makes them: a bit, a byte that is often special, bytes left out or repeated, a piece of
// another.
void Change(std::string& input, const std::vector<std::string>& corpus, std::mt19937& random) {
  constexpr absl::string_view kSpecial("\0\x01\x7f\x80\xff\xfe\n\r\"\\{}[]<>%|-+0919eE.,: \xc0\xe2", 32);
  const size_t at = Below(random, input.size() + 1);
  const size_t length = Below(random, std::min<size_t>(input.size() - at, 32) + 1);
  switch (Below(random, 6)) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << Below(random, 8)));
      return;
    case 1:
      if (at < input.size()) input[at] = kSpecial[Below(random, kSpecial.size())];
      return;
    case 2:
      input.insert(at, 1, kSpecial[Below(random, kSpecial.size())]);
      return;
    case 3:
      input.erase(at, length);
      return;
    case 4:
      input.insert(at, input.substr(at, length));
      return;
    default: {
      const std::string& other = corpus[Below(random, corpus.size())];
      const size_t from = Below(random, other.size() + 1);
      input.replace(at, length, other.substr(from, Below(random, 64)));
    }
  }
}

class FuzzCorpusTest : public testing::TestWithParam<Target> {
 protected:
  // The input is in a file of the build folder while it runs, to be looked at when it ends the test.
  void Run(const std::string& input) {
    const std::string path = BuildPath(absl::StrCat("fuzz-input-", GetParam().name));
    std::ofstream(path, std::ios::binary) << input;
    GetParam().run(input);
    std::filesystem::remove(path);
  }
};

TEST_P(FuzzCorpusTest, TakesTheCorpusAndWhatIsMadeOfIt) {
  const std::vector<std::string> corpus = Corpus(GetParam().name);
  ASSERT_FALSE(corpus.empty());
  Run("");
  for (const std::string& input : corpus) Run(input);
  std::mt19937 random(1);
  for (int i = 0; i < kMade; ++i) {
    std::string input = corpus[Below(random, corpus.size())];
    for (size_t changes = 1 + Below(random, 6); changes > 0; --changes) Change(input, corpus, random);
    input.resize(std::min(input.size(), kLongest));
    Run(input);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzCorpusTest, testing::ValuesIn(kTargets),
                         [](const auto& target) { return std::string(target.param.name); });

}  // namespace
}  // namespace tactus::fuzz
