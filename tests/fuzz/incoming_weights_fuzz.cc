// What a learner, or an actor that passes weights on, sends in which order: a script of manifests, whole sets and
// deltas, true bytes and made-up ones, cut anywhere and sent again. What is taken for a version is that version to the
// bit, and after all of it an honest sender is still believed.
#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/dtype.h"
#include "common/weights/incoming_weights.h"
#include "tests/fuzz/fuzz.h"
#include "tests/weights/sample_weights.h"

namespace tactus::fuzz {
namespace {

constexpr int kSets = 4;  // versions 0 to 3; the last one is float32, which has no deltas

PolicyVersion Version(int set) { return {static_cast<uint32_t>(set)}; }

// What true senders have.
struct Source {
  ParameterLayout layout = SampleLayout(200);
  std::vector<std::shared_ptr<const WeightSnapshot>> sets;
  std::vector<std::string> deltas;  // [i]: from version i to the next
};

const Source& TrueSource() {
  static const Source* const made = [] {
    auto* source = new Source;
    WeightPublisher publisher("run", kSets);
    std::vector<float> values = SampleValues(source->layout);
    for (int set = 0; set < kSets; ++set) {
      for (size_t i = static_cast<size_t>(set); i < 180; i += 17) values[16 + i] += 0.25f;
      const StorageDType dtype = set + 1 < kSets ? StorageDType::kBFloat16 : StorageDType::kFloat32;
      Require(PublishValues(publisher, Version(set), source->layout, values, dtype).ok(), "a set is published");
      source->sets.push_back(publisher.Newest());
      if (set == 0 || dtype != StorageDType::kBFloat16) continue;
      const WeightOffer offer = publisher.OfferTo(Version(set - 1));
      Require(offer.deltas.size() == 1, "small changes are offered as deltas");
      source->deltas.push_back(offer.deltas[0]->bytes);
    }
    return source;
  }();
  return *made;
}

class Script {
 public:
  explicit Script(absl::string_view bytes) : bytes_(bytes) {}
  bool done() const { return bytes_.empty(); }
  // 0 at the end.
  int Next() { return done() ? 0 : static_cast<unsigned char>(Take(1)[0]); }
  absl::string_view Take(int count) {
    const absl::string_view taken = bytes_.substr(0, static_cast<size_t>(count));
    bytes_.remove_prefix(taken.size());
    return taken;
  }

 private:
  absl::string_view bytes_;
};

// A receiver, and what a sender that follows a script has announced to it.
class Play {
 public:
  void Step(Script& script) {
    switch (script.Next()) {
      case 'w': {
        Begin(script.Next() % kSets, std::nullopt, {});
        break;
      }
      case 'd': {  // true deltas, as far as there are any
        const int from = script.Next() % kSets, to = script.Next() % kSets;
        WeightManifest::Delta delta{.base = Version(from), .bytes = {}};
        std::string bytes;
        for (int i = from; i < std::min<int>(to, static_cast<int>(TrueSource().deltas.size())); ++i) {
          bytes += TrueSource().deltas[static_cast<size_t>(i)];
          delta.bytes.push_back(TrueSource().deltas[static_cast<size_t>(i)].size());
        }
        Begin(to, std::move(delta), std::move(bytes));
        break;
      }
      case 's': {  // of any sizes
        WeightManifest::Delta delta{.base = Version(script.Next() % kSets), .bytes = {}};
        const int to = script.Next() % kSets;
        for (int left = script.Next() % 4; left > 0; --left) {
          const auto size = static_cast<uint64_t>(script.Next());
          delta.bytes.push_back(size == 255 ? ~uint64_t{0} : size);
        }
        Begin(to, std::move(delta), {});
        break;
      }
      case 'c': {
        const uint64_t at = incoming_.received(Version(set_));
        if (at <= bytes_.size()) Append(at, absl::string_view(bytes_).substr(at, static_cast<size_t>(script.Next())));
        break;
      }
      case 'l': {
        const uint64_t at = incoming_.received(Version(set_)) + static_cast<uint64_t>(script.Next()) - 2;
        Append(at, script.Take(script.Next()));
        break;
      }
      case 'z':
        Append(0, absl::string_view(bytes_).substr(0, static_cast<size_t>(script.Next())));
        break;
      case 'f':
        Finish(false);
        break;
      default:
        break;
    }
  }

  void Honestly(int set) {
    Begin(set, std::nullopt, {});
    for (size_t at = 0; at < bytes_.size(); at += 100) Append(at, absl::string_view(bytes_).substr(at, 100));
    Finish(true);
  }

 private:
  void Begin(int set, std::optional<WeightManifest::Delta> delta, std::string bytes) {
    const WeightSnapshot& truth = *TrueSource().sets[static_cast<size_t>(set)];
    WeightManifest manifest = truth.manifest;
    const bool whole = !delta.has_value();
    manifest.delta = std::move(delta);
    if (!incoming_.Begin(manifest).ok()) return;
    set_ = set;
    bytes_ = whole ? std::string(truth.bytes->begin(), truth.bytes->end()) : std::move(bytes);
  }

  void Append(uint64_t offset, absl::string_view data) {
    const uint64_t before = incoming_.received(Version(set_));
    const bool taken = incoming_.Append(offset, data).ok();
    const uint64_t now = incoming_.received(Version(set_));
    Require(taken ? now == offset + data.size() : now == 0, "it counts what it took");
    Require(now <= before + data.size(), "and no more than that");
  }

  void Finish(bool must) {
    const absl::StatusOr<ReceivedWeights> received = incoming_.Finish();
    if (!received.ok()) return Require(!must, "an honest sender is believed");
    const WeightSnapshot& truth = *TrueSource().sets[static_cast<size_t>(set_)];
    Require(received->version == truth.manifest.version, "the version is what was announced");
    Require(EncodeWeights(TrueSource().layout, received->flat, truth.manifest.dtype) == *truth.bytes,
            "what is taken for a version is that version");
    const bool deltas_follow = truth.manifest.dtype == StorageDType::kBFloat16;
    Require(incoming_.held() == (deltas_follow ? std::optional(received->version) : std::nullopt), "it is held");
  }

  IncomingWeights incoming_{&TrueSource().layout, nullptr};
  int set_ = 0;
  std::string bytes_;  // what a true sender would send now
};

}  // namespace

void FuzzIncomingWeights(absl::string_view input) {
  Script script(input);
  Play play;
  while (!script.done()) play.Step(script);
  play.Honestly(kSets - 1);
  play.Honestly(0);
}

}  // namespace tactus::fuzz
