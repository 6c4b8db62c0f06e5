// A checkpoint's manifest.json with a hash that fits, over a folder of two files; nothing outside the folder is read.
#include "absl/strings/str_cat.h"
#include "common/base/sha256.h"
#include "learner/checkpoint/manifest.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {
namespace {

// Of what a checkpoint holds besides its manifest.
struct Checkpoint {
  Checkpoint() {
    folder.Write("state.pb", "state");
    folder.Write("optimizer.bin", "");
  }
  InputFolder folder;
};

}  // namespace

void FuzzManifest(absl::string_view input) {
  static Checkpoint checkpoint;  // destroyed at exit, so that nothing stays in /dev/shm
  InputFolder& folder = checkpoint.folder;
  folder.Write("manifest.json", input);
  folder.Write("manifest.json.sha256", absl::StrCat(Sha256Hex(input), "  manifest.json\n"));
  (void)VerifyManifest(folder.path());
}

}  // namespace tactus::fuzz
