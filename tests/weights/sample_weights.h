// A small layout with odd sizes, and numbers to fill it.
#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "common/model/folder/model_config.h"
#include "common/weights/weight_publisher.h"

namespace tactus {

// Tensors of 7, 90'000 and 1 elements at offsets 0, 16 and 90'016: chunk borders fall inside a tensor, padding exists.
inline ParameterLayout SampleLayout(int64_t middle = 90'000) {
  ParameterLayout layout;
  layout.specs = {{"first.weight", {7}, 0, 7},
                  {"middle.weight", {middle / 10, 10}, 16, middle},
                  {"last.bias", {1}, 16 + middle, 1}};
  layout.total_numel = 32 + middle;
  return layout;
}

inline std::vector<float> SampleValues(const ParameterLayout& layout, float scale = 1) {
  std::vector<float> flat(static_cast<size_t>(layout.total_numel), 0.0f);
  for (const ParameterSpec& spec : layout.specs) {
    for (int64_t i = 0; i < spec.numel; ++i) {
      flat[static_cast<size_t>(spec.offset + i)] = scale * (1.0f + 0.001f * static_cast<float>(i % 1000));
    }
  }
  return flat;
}

// As the learner publishes: `values` [layout.total_numel] rounded to `dtype`.
inline absl::Status PublishValues(WeightPublisher& publisher, PolicyVersion version, const ParameterLayout& layout,
                                  std::span<const float> values, StorageDType dtype,
                                  std::optional<HeadClasses> head_classes = {},
                                  std::optional<SharedWeights> shared = {}) {
  return publisher.Publish(version, layout,
                           std::make_shared<const std::vector<char>>(EncodeWeights(layout, values, dtype)), dtype,
                           std::move(head_classes), std::move(shared));
}

}  // namespace tactus
