#include "bench/profile/products.h"

#include <algorithm>
#include <deque>

#include "common/ops/cpu/gemm.h"
#include "common/ops/cpu/kernels.h"
#include "common/ops/cpu/parallel.h"

namespace tactus {
namespace {

constexpr int64_t kRows[] = {1, 8, 32, 64, 256, 1024};
constexpr int64_t kHeadRows = 256;      // rows of logits that exist at once in an update
constexpr int64_t kBlockRows = 84;      // rows of a block of Gemm (kRowBlock in gemm.cc)
constexpr double kMemoryBytes = 256e6;  // of weights that are cycled through
constexpr double kCacheBytes = 12e6;
constexpr double kRoundSeconds = 0.02;  // a round repeats what is shorter

struct Shape {
  const char* what;
  int64_t columns, depth;
};

std::vector<Shape> ShapesOf(const ModelConfig& c) {
  const int64_t q = c.num_heads * c.head_dim, qkv = q + 2 * c.num_kv_heads * c.head_dim;
  return {{"qkv", qkv, c.hidden_size},
          {"o", c.hidden_size, q},
          {"gate_up", 2 * c.intermediate_size, c.hidden_size},
          {"down", c.hidden_size, c.intermediate_size},
          {"head", c.vocab_size, c.hidden_size}};
}

// Copies of one weight, used in turn.
class Weights {
 public:
  Weights(int64_t depth, int64_t columns, ops::PanelType type, double bytes) {
    std::vector<float> w(static_cast<size_t>(depth * columns));
    FillUniform(w, 0.05f, 1);
    do {
      copies_.emplace_back(depth, columns, type).PackRows(w.data(), depth, 0, columns);
    } while (static_cast<double>(copies_.size() + 1) * Bytes() <= bytes);
  }
  const ops::PackedMatrix& Next() { return copies_[turn_++ % copies_.size()]; }
  double Bytes() const { return static_cast<double>(copies_.front().panels() * copies_.front().panel_bytes()); }

 private:
  std::deque<ops::PackedMatrix> copies_;
  size_t turn_ = 0;
};

// Median seconds of `rounds` rounds, a roof measured before each.
std::vector<double> Rounds(const Run& run, int rounds, RoofSamples& roofs) {
  const double once = std::max(ProfileSecondsOf(run, 1), 1e-7);
  const int repeats = std::max(1, static_cast<int>(kRoundSeconds / once));
  ProfileSecondsOf(run, repeats);
  std::vector<double> seconds;
  for (int i = 0; i < rounds; ++i) {
    roofs.Measure();
    seconds.push_back(ProfileSecondsOf(run, repeats));
  }
  return seconds;
}

// Of laying out `rows` rows once, by one thread.
double PackingSeconds(const std::vector<float>& a, int64_t rows, int64_t depth, ops::PanelType type) {
  const ops::Kernels& kernels = ops::ActiveKernels();
  ops::Buffer<float> left(rows * ops::kLeftRow);
  return ProfileSecondsOf(
      [&] {
        for (int64_t k = 0; k < depth; k += ops::kChain) {
          const ops::PackLeftArgs args{.a = a.data() + k,
                                       .a_row = depth,
                                       .rows = rows,
                                       .depth = std::min(ops::kChain, depth - k),
                                       .out = left.data()};
          (type == ops::PanelType::kFloat32 ? kernels.pack_left : kernels.pack_left_bf16)(args);
        }
      },
      std::max(1, static_cast<int>(20'000'000 / (rows * depth))));
}

class Product {
 public:
  Product(nlohmann::json about, Shape shape, StorageDType dtype, int rounds, RoofSamples& roofs)
      : about_(std::move(about)),
        shape_(shape),
        type_(dtype == StorageDType::kFloat32 ? ops::PanelType::kFloat32 : ops::PanelType::kBFloat16),
        rounds_(rounds),
        roofs_(roofs) {}

  // y = x w^T, or with w's other layout d loss / d x.
  void Multiply(const char* direction, int64_t rows, Weights& weights, bool from_memory) {
    const ops::PackedMatrix& one = weights.Next();
    const int64_t depth = one.depth(), columns = one.columns();
    std::vector<float> a(static_cast<size_t>(rows * depth)), c(static_cast<size_t>(rows * columns));
    FillUniform(a, 1, 2);
    const std::vector<double> seconds = Rounds(
        [&] {
          ops::Gemm({a.data(), depth}, rows, weights.Next(), c.data(), columns, /*accumulate=*/false);
        },
        rounds_, roofs_);
    PartCost cost{.operations = 2.0 * static_cast<double>(rows) * static_cast<double>(columns * depth)};
    (from_memory ? cost.memory_bytes : cost.cache_bytes) = weights.Bytes();
    // A piece of work (ParallelFor makes four a thread) lays out the rows of the block it begins in.
    const int64_t pairs = (one.panels() + 1) / 2;
    const int64_t pieces = ops::Threads() == 1 ? 1 : std::min(int64_t{4} * ops::Threads(), pairs);
    const int64_t packed_rows = rows + (pieces - 1) * std::min(rows, kBlockRows);
    const double packing = PackingSeconds(a, std::min(rows, kBlockRows), depth, type_) *
                           static_cast<double>(packed_rows) / static_cast<double>(std::min(rows, kBlockRows));
    Line(direction, rows, from_memory ? "memory" : "cache", seconds, cost, packing);
  }

  // dw += dy^T x, of weights in memory: the sums are read and written.
  void WeightGradient(int64_t rows) {
    const int64_t columns = shape_.columns, depth = shape_.depth;
    std::vector<float> dy(static_cast<size_t>(rows * columns)), x(static_cast<size_t>(rows * depth));
    FillUniform(dy, 1, 3);
    FillUniform(x, 1, 4);
    ops::Buffer<float> dw(columns * depth);
    ops::PackedMatrix right(rows, depth, type_);
    right.PackRows(x.data(), rows, 0, depth);
    const std::vector<double> seconds =
        Rounds([&] { ops::GemmTransposedA(dy.data(), columns, columns, right, dw.data(), depth); }, rounds_, roofs_);
    const PartCost cost{.operations = 2.0 * static_cast<double>(rows) * static_cast<double>(columns * depth)};
    Line("weight's gradient", rows, "its inputs", seconds, cost, 0);
  }

 private:
  void Line(const char* direction, int64_t rows, const char* place, const std::vector<double>& seconds,
            const PartCost& cost, double packing) {
    const Limits limits = roofs_.Last(static_cast<size_t>(rounds_));
    const auto [least, limit] = limits.Least(cost);
    nlohmann::json line = about_;
    const double median = Spread(seconds)["median"];
    line.update({{"direction", direction},
                 {"product", shape_.what},
                 {"columns", shape_.columns},
                 {"depth", shape_.depth},
                 {"rows", rows},
                 {"weights", place},
                 {"seconds", Spread(seconds)},
                 {"gflops", cost.operations / median * 1e-9},
                 {"roof", limit},
                 {"roof_seconds", least},
                 {"share", least / median},
                 {"packing_share", packing / (median * ops::Threads())}});
    Print(line);
  }

  const nlohmann::json about_;
  const Shape shape_;
  const ops::PanelType type_;
  const int rounds_;
  RoofSamples& roofs_;
};

}  // namespace

void ProfileProducts(const std::string& model, const ModelConfig& config, StorageDType dtype, int rounds,
                     RoofSamples& roofs) {
  const ops::PanelType type = dtype == StorageDType::kFloat32 ? ops::PanelType::kFloat32 : ops::PanelType::kBFloat16;
  for (const Shape& shape : ShapesOf(config)) {
    const nlohmann::json about = {
        {"part", "product"}, {"model", model}, {"dtype", dtype == StorageDType::kFloat32 ? "float32" : "bfloat16"}};
    Product product(about, shape, dtype, rounds, roofs);
    const bool head = shape.columns == config.vocab_size;
    for (const double bytes : {kMemoryBytes, kCacheBytes}) {
      Weights weights(shape.depth, shape.columns, type, bytes);
      if (bytes == kCacheBytes && weights.Bytes() > kCacheBytes) continue;
      for (const int64_t rows : kRows) {
        if (!head || rows <= kHeadRows) product.Multiply("forward", rows, weights, bytes == kMemoryBytes);
      }
    }
    Weights backward(shape.columns, shape.depth, type, kMemoryBytes);
    for (const int64_t rows : {int64_t{256}, int64_t{1024}}) {
      if (head && rows > kHeadRows) continue;
      product.Multiply("input's gradient", rows, backward, /*from_memory=*/true);
      product.WeightGradient(rows);
    }
  }
}

}  // namespace tactus
