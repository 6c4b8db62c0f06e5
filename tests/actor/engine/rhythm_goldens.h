// The goldens under tests/goldens/rhythm, and how what an engine measured is held against them.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "actor/engine/engine.h"
#include "common/data/turns.h"
#include "common/model/folder/hf_folder.h"
#include "common/rhythm/credit.h"
#include "common/rhythm/rhythm.h"
#include "tests/model/golden_models.h"
#include "tests/tree.h"

namespace tactus {

using Json = nlohmann::json;

inline constexpr int64_t kMaxPosition = 2048;  // the tiny models' own limit is 512; rotary positions have none

inline ModelFolder Folder(const std::string& name) {
  ModelFolder folder = *OpenModelFolder(GoldenModelPath(name));
  folder.config.max_position = kMaxPosition;
  return folder;
}

// name: of a file, without its ending.
inline std::vector<Json> Goldens(const std::string& name) {
  std::ifstream in(SourcePath("tests/goldens/rhythm/") + name + ".jsonl");
  std::vector<Json> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}

inline Decimal Share(const std::string& text) { return *Decimal::ParseShare(text, "test"); }

inline RhythmOptions Options() { return {.head_share = Share("0.3"), .receiver_share = Share("0.1")}; }
inline CreditParams Params() {
  return {.q = Share("0.4"), .waad_quantile = Share("0.5"), .delta_quantile = Share("0.6")};
}

inline EngineOptions WithProbe(EngineOptions options, std::vector<int32_t> layers) {
  const RhythmOptions rhythm = Options();
  options.probe = {.layers = std::move(layers),
                   .window_tokens = rhythm.window_tokens,
                   .horizon_min_tokens = rhythm.horizon_min_tokens,
                   .horizon_max_tokens = rhythm.horizon_max_tokens};
  return options;
}

inline Rhythm FromGolden(const Json& golden) {
  Rhythm rhythm;
  rhythm.waad = golden.at("waad").get<std::vector<double>>();
  rhythm.delta = golden.at("delta").get<std::vector<double>>();
  rhythm.fai = golden.at("fai").get<std::vector<double>>();
  if (golden.contains("places")) rhythm.places = golden.at("places").get<std::vector<int32_t>>();
  rhythm.eligible = EligibleTokens(static_cast<int64_t>(rhythm.waad.size()), rhythm.places, Options());
  return rhythm;
}

inline const std::map<std::string, CreditKind>& Kinds() {
  static const std::map<std::string, CreditKind> kinds = {
      {"LOCAL_CHUNK", CreditKind::kLocalChunk},   {"GLOBAL_ANCHOR", CreditKind::kGlobalAnchor},
      {"COUPLED", CreditKind::kCoupled},          {"ENTROPY", CreditKind::kEntropy},
      {"BOTTOM_DELTA", CreditKind::kBottomDelta}, {"BOTTOM_FAI", CreditKind::kBottomFai}};
  return kinds;
}

// Positions whose weight is within the measurement's error of another: it changes when the reference's values move by
// random amounts of that size.
inline std::vector<bool> TiesWithinError(CreditKind kind, const Rhythm& exact, const std::vector<float>& entropy) {
  constexpr double kWaadError = 10 * 1e-5, kFaiError = 1e-5;
  const std::vector<float> base = CreditWeights(kind, Params(), {.entropy = entropy, .rhythm = &exact});
  std::vector<bool> tied(base.size());
  std::mt19937 random(3);
  std::uniform_real_distribution<double> unit(-1, 1);
  for (int trial = 0; trial < 50; ++trial) {
    Rhythm moved = exact;
    std::vector<float> entropies = entropy;
    for (size_t t = 0; t < base.size(); ++t) {
      moved.waad[t] += kWaadError * unit(random);
      if (t + 1 < base.size() && GoesOn(exact.places, t + 1)) moved.delta[t] += kWaadError * unit(random);
      moved.fai[t] *= 1 + kFaiError * unit(random);
      entropies[t] += static_cast<float>(1e-5 * unit(random));
    }
    const std::vector<float> other = CreditWeights(kind, Params(), {.entropy = entropies, .rhythm = &moved});
    for (size_t t = 0; t < base.size(); ++t) tied[t] = tied[t] || other[t] != base[t];
  }
  return tied;
}

inline void CheckGammas(const Json& golden, const Rhythm& measured, const std::vector<float>& entropy) {
  const Rhythm exact = FromGolden(golden);
  std::vector<float> exact_entropy;
  for (const double value : golden.at("entropy")) exact_entropy.push_back(static_cast<float>(value));
  for (const auto& [name, kind] : Kinds()) {
    const auto expected = golden.at("gamma").at(name).get<std::vector<float>>();
    EXPECT_EQ(CreditWeights(kind, Params(), {.entropy = exact_entropy, .rhythm = &exact}), expected) << name;
    const std::vector<float> got = CreditWeights(kind, Params(), {.entropy = entropy, .rhythm = &measured});
    const std::vector<bool> tied = TiesWithinError(kind, exact, exact_entropy);
    for (size_t t = 0; t < got.size(); ++t) {
      EXPECT_TRUE(got[t] == expected[t] || tied[t]) << golden.at("id") << " " << name << " at " << t;
    }
  }
}

inline void CheckRhythm(const Json& golden, const Rhythm& rhythm, int64_t heads_per_layer) {
  const auto waad = golden.at("waad").get<std::vector<double>>(), fai = golden.at("fai").get<std::vector<double>>();
  const auto delta = golden.at("delta").get<std::vector<double>>();
  ASSERT_EQ(rhythm.waad.size(), waad.size());
  const double window = static_cast<double>(Options().window_tokens);
  for (size_t t = 0; t < waad.size(); ++t) {
    EXPECT_NEAR(rhythm.waad[t], waad[t], 1e-5 * window) << t;
    EXPECT_NEAR(rhythm.delta[t], delta[t], 1e-5 * window) << t;
    EXPECT_NEAR(rhythm.fai[t], fai[t], 1e-5 * fai[t]) << t;
  }
  const auto layers = golden.at("layers").get<std::vector<int32_t>>();
  const auto named = [&](const std::vector<int32_t>& heads) {
    Json list = Json::array();
    for (const int32_t head : heads) list.push_back({layers[head / heads_per_layer], head % heads_per_layer});
    return list;
  };
  EXPECT_EQ(named(rhythm.heads.local), golden.at("local_heads"));
  EXPECT_EQ(named(rhythm.heads.global), golden.at("global_heads"));
  for (size_t head = 0; head < rhythm.span.size(); ++head) {
    const double span = golden.at("span")[head][2];
    EXPECT_NEAR(rhythm.span[head], span, 1e-5 * span) << head;
  }
}

}  // namespace tactus
