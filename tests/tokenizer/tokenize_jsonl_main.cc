// Runs TokenizeJsonl on standard input, for scripts/compare_tokenizers.py: tokenize_jsonl_main MODEL_FOLDER.
#include <iostream>

#include "common/tokenizer/tokenize_jsonl.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "expected one argument, the model folder\n";
    return 2;
  }
  const std::string folder = argv[1];
  std::ios::sync_with_stdio(false);
  const auto tokenizer = tactus::Tokenizer::FromFile(folder + "/tokenizer.json");
  absl::Status status = tokenizer.status();
  if (status.ok()) {
    status =
        tactus::TokenizeJsonl(**tokenizer, tactus::ChatTemplate::FromModelFolder(folder, ""), "-", std::cin, std::cout);
  }
  if (status.ok()) return 0;
  std::cerr << status.message() << "\n";
  return 2;
}
