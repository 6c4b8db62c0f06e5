#include "tools/study/study_perturb.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "common/base/status_macros.h"
#include "tools/study/study_runs.h"

namespace tactus {
namespace {

// A token to replace, and what came of it.
struct Probe {
  size_t response = 0;
  int32_t position = 0;
  bool replaced = false;
  double words = 0, tokens = 0;  // Jaccard
};

// Which of the probes belong to a response, as ProbedPositions has them.
struct ResponseProbes {
  std::vector<size_t> peaks, matched, lowest;
};

class Perturbation {
 public:
  Perturbation(const Tokenizer& tokenizer, std::span<const MeasuredResponse> responses, const PerturbOptions& options)
      : tokenizer_(tokenizer), responses_(responses), options_(options) {}

  absl::StatusOr<PerturbResult> Run(Engine& engine) {
    Choose(engine.config().max_position);
    std::vector<Place> places;
    for (const Probe& probe : probes_) places.push_back(PlaceOf(probe));
    ASSIGN_OR_RETURN(const std::vector<TokenId> others, RunnersUp(engine, places, options_.seed));
    std::vector<Place> changed;
    for (size_t i = 0; i < probes_.size(); ++i) {
      const bool stops = IsStop(others[i]);
      result_.no_runner_up += others[i] == kNoToken;
      result_.stops += stops;
      probes_[i].replaced = others[i] != kNoToken && !stops;
      if (probes_[i].replaced) changed.push_back({std::move(places[i].before), others[i]});
    }
    result_.places = static_cast<int64_t>(changed.size());
    ASSIGN_OR_RETURN(const std::vector<std::vector<TokenId>> continuations,
                     GreedyContinuations(engine, changed, options_.continue_tokens, options_.stop_ids));
    size_t next = 0;
    for (Probe& probe : probes_) {
      if (probe.replaced) RETURN_IF_ERROR(Overlap(continuations[next++], probe));
    }
    result_.matched = CompareMatched();
    result_.lowest = CompareLowest();
    return result_;
  }

 private:
  // One response's probes of one kind, added up.
  struct Side {
    double count = 0, words = 0, tokens = 0, place = 0, entropy = 0;
  };

  bool IsStop(TokenId id) const {
    return std::find(options_.stop_ids.begin(), options_.stop_ids.end(), id) != options_.stop_ids.end();
  }

  void Choose(int64_t max_position) {
    std::map<std::pair<size_t, int32_t>, size_t> known;
    for (size_t i = 0; i < responses_.size(); ++i) {
      const ScoreItem& item = responses_[i].item;
      const Rhythm& rhythm = responses_[i].rhythm;
      const auto tokens = static_cast<int64_t>(item.response_ids.size());
      const bool finished = tokens > 0 && IsStop(item.response_ids.back());
      const int64_t end =
          std::min(finished ? tokens : tokens - options_.continue_tokens,
                   max_position - options_.continue_tokens - static_cast<int64_t>(item.prompt_ids.size()));
      const auto numbers = [&](const std::vector<int32_t>& positions) {
        std::vector<size_t> all;
        for (const int32_t position : positions) {
          const auto [it, is_new] = known.try_emplace({i, position}, probes_.size());
          if (is_new) probes_.push_back({.response = i, .position = position});
          all.push_back(it->second);
        }
        return all;
      };
      const ProbedPositions probed = ProbePositions(std::span(rhythm.fai).first(rhythm.eligible.size()), end,
                                                    options_.peaks_per_response, options_.peak_quantile);
      by_response_.push_back({numbers(probed.peaks), numbers(probed.matched), numbers(probed.lowest)});
    }
  }

  Place PlaceOf(const Probe& probe) const {
    const ScoreItem& item = responses_[probe.response].item;
    Place place{item.prompt_ids, item.response_ids[static_cast<size_t>(probe.position)]};
    place.before.insert(place.before.end(), item.response_ids.begin(), item.response_ids.begin() + probe.position);
    return place;
  }

  absl::Status Overlap(std::span<const TokenId> changed, Probe& probe) const {
    const std::vector<TokenId>& all = responses_[probe.response].item.response_ids;
    std::span<const TokenId> rest = std::span(all).subspan(static_cast<size_t>(probe.position) + 1);
    rest = rest.first(std::min(rest.size(), static_cast<size_t>(options_.continue_tokens)));
    for (std::span<const TokenId>* ids : {&rest, &changed}) {
      if (!ids->empty() && IsStop(ids->back())) *ids = ids->first(ids->size() - 1);
    }
    ASSIGN_OR_RETURN(const std::string rest_text, tokenizer_.Decode(rest, /*skip_special_tokens=*/true));
    ASSIGN_OR_RETURN(const std::string changed_text, tokenizer_.Decode(changed, /*skip_special_tokens=*/true));
    probe.tokens = TokenJaccard(rest, changed);
    probe.words = WordJaccard(rest_text, changed_text);
    return absl::OkStatus();
  }

  void Add(const Probe& probe, Side& side) const {
    ++side.count;
    side.words += probe.words;
    side.tokens += probe.tokens;
    side.place += probe.position;
    side.entropy += responses_[probe.response].completion.entropy[static_cast<size_t>(probe.position)];
  }

  PerturbComparison CompareMatched() const {
    std::vector<std::pair<Side, Side>> sides;
    for (const ResponseProbes& probes : by_response_) {
      auto& [high, low] = sides.emplace_back();
      for (size_t k = 0; k < probes.peaks.size(); ++k) {
        const Probe &peak = probes_[probes.peaks[k]], &match = probes_[probes.matched[k]];
        if (!peak.replaced || !match.replaced) continue;
        Add(peak, high);
        Add(match, low);
      }
    }
    return Compare(sides);
  }

  PerturbComparison CompareLowest() const {
    std::vector<std::pair<Side, Side>> sides;
    for (const ResponseProbes& probes : by_response_) {
      auto& [high, low] = sides.emplace_back();
      for (const size_t k : probes.peaks) {
        if (probes_[k].replaced) Add(probes_[k], high);
      }
      for (const size_t k : probes.lowest) {
        if (probes_[k].replaced) Add(probes_[k], low);
      }
    }
    return Compare(sides);
  }

  PerturbComparison Compare(const std::vector<std::pair<Side, Side>>& sides) const {
    PerturbComparison comparison;
    std::vector<double> high_words, low_words, high_tokens, low_tokens;
    for (const auto& [high, low] : sides) {
      if (high.count == 0 || low.count == 0) continue;
      high_words.push_back(high.words / high.count);
      low_words.push_back(low.words / low.count);
      high_tokens.push_back(high.tokens / high.count);
      low_tokens.push_back(low.tokens / low.count);
      comparison.high_place += high.place / high.count;
      comparison.low_place += low.place / low.count;
      comparison.high_entropy += high.entropy / high.count;
      comparison.low_entropy += low.entropy / low.count;
    }
    comparison.words = ComparePairs(high_words, low_words, options_.seed);
    comparison.tokens = ComparePairs(high_tokens, low_tokens, options_.seed);
    const double responses = std::max(1.0, static_cast<double>(high_words.size()));
    for (double* mean :
         {&comparison.high_place, &comparison.low_place, &comparison.high_entropy, &comparison.low_entropy}) {
      *mean /= responses;
    }
    return comparison;
  }

  const Tokenizer& tokenizer_;
  const std::span<const MeasuredResponse> responses_;
  const PerturbOptions& options_;
  std::vector<Probe> probes_;
  std::vector<ResponseProbes> by_response_;
  PerturbResult result_;
};

}  // namespace

absl::StatusOr<PerturbResult> Perturb(Engine& engine, const Tokenizer& tokenizer,
                                      std::span<const MeasuredResponse> responses, const PerturbOptions& options) {
  return Perturbation(tokenizer, responses, options).Run(engine);
}

}  // namespace tactus
