#include "tools/top/source.h"

#include <httplib.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/json_field.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"

namespace tactus::top {
namespace {

constexpr size_t kMaxAnswerBytes = 16 << 20, kMaxTargets = 4096, kMaxTargetsBytes = 4 << 20;

double Now() { return absl::ToUnixMicros(absl::Now()) / 1e6; }

absl::StatusOr<std::string> Get(httplib::Client& client, const std::string& address, const std::string& path,
                                const httplib::Params& params = {}) {
  client.set_connection_timeout(absl::ToChronoMilliseconds(kReadTimeout));
  client.set_read_timeout(absl::ToChronoMilliseconds(kReadTimeout));
  client.set_keep_alive(true);
  std::string body;
  const httplib::Result result = client.Get(path, params, {}, [&](const char* data, size_t size) {
    body.append(data, size);
    return body.size() <= kMaxAnswerBytes;
  });
  if (!result) {
    return absl::UnavailableError(
        absl::StrCat("no answer from ", address, " (", httplib::to_string(result.error()), ")."));
  }
  if (result->status != 200) {
    return absl::InvalidArgumentError(
        absl::StrCat(address, " answered ", result->status, ": ", body.substr(0, 200), "."));
  }
  return body;
}

struct Target {
  std::string address;
  std::map<std::string, std::string> labels;
};

// A file of Prometheus' file_sd form.
absl::StatusOr<std::vector<Target>> ReadTargets(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxTargetsBytes));
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, path, {.max_bytes = kMaxTargetsBytes}));
  const JsonField root(json, path);
  if (!json.is_array() || json.size() > kMaxTargets) {
    return root.Expected("a list of {\"targets\":[\"HOST:PORT\"],\"labels\":{}}.");
  }
  std::vector<Target> targets;
  for (size_t i = 0; i < json.size(); ++i) {
    JSON_MEMBER(const std::vector<std::string> addresses, root.Element(i), "targets", Strings());
    ASSIGN_OR_RETURN(const JsonField labels, root.Element(i).Member("labels"));
    std::map<std::string, std::string> by_name;
    for (const auto& label : labels.value().items()) {
      JSON_MEMBER(by_name[label.key()], labels, label.key(), String());
    }
    for (const std::string& address : addresses) targets.push_back({.address = address, .labels = by_name});
  }
  return targets;
}

class LocalSource : public Source {
 public:
  LocalSource(std::string path, int window_s) : path_(std::move(path)), window_(window_s) {}

  absl::StatusOr<Frame> Read() override {
    ASSIGN_OR_RETURN(const std::vector<Target> targets, ReadTargets(path_));
    std::vector<Sample> samples;
    absl::Status last_error = absl::UnavailableError(absl::StrCat(path_, " lists no process."));
    bool any = false;
    for (const Target& target : targets) {
      const absl::StatusOr<std::vector<Sample>> scraped = Scrape(target);
      if (!scraped.ok()) {
        last_error = scraped.status();
        continue;
      }
      any = true;
      samples.insert(samples.end(), scraped->begin(), scraped->end());
    }
    if (!any) return last_error;
    Frame frame{.time_s = Now(), .panels = {}};
    window_.Add(frame.time_s, std::move(samples));
    for (const Panel& panel : Panels()) frame.panels[std::string(panel.id)] = window_.Evaluate(panel);
    return frame;
  }

 private:
  absl::StatusOr<std::vector<Sample>> Scrape(const Target& target) {
    httplib::Client client(absl::StrCat("http://", target.address));
    ASSIGN_OR_RETURN(const std::string text, Get(client, target.address, "/metrics"));
    ASSIGN_OR_RETURN(std::vector<Sample> samples, ParseExposition(text));
    for (Sample& sample : samples) sample.labels.insert(target.labels.begin(), target.labels.end());
    return samples;
  }

  std::string path_;
  SeriesWindow window_;
};

// An instant vector by the values of one label; "" names no label.
absl::StatusOr<PanelValues> ReadAnswer(const std::string& text, absl::string_view by) {
  constexpr absl::string_view kSource = "the answer";
  ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, kSource, {.max_bytes = kMaxAnswerBytes}));
  ASSIGN_OR_RETURN(const JsonField data, JsonField(json, kSource).Member("data"));
  ASSIGN_OR_RETURN(const JsonField result, data.Member("result"));
  ASSIGN_OR_RETURN(const size_t size, result.ArraySize());
  PanelValues values;
  for (size_t i = 0; i < size; ++i) {
    ASSIGN_OR_RETURN(const JsonField point, result.Element(i).Member("value"));
    ASSIGN_OR_RETURN(const size_t parts, point.ArraySize());
    if (parts != 2) return point.Expected("a time and a value");
    ASSIGN_OR_RETURN(const std::string number, point.Element(1).String());
    ASSIGN_OR_RETURN(const JsonField metric, result.Element(i).Member("metric"));
    ASSIGN_OR_RETURN(const JsonField label, metric.Member(by));
    std::string name;
    if (!label.is_null()) {
      ASSIGN_OR_RETURN(name, label.String());
    }
    double value = std::numeric_limits<double>::quiet_NaN();
    if (absl::SimpleAtod(number, &value)) values[name] = value;
  }
  return values;
}

class PrometheusSource : public Source {
 public:
  PrometheusSource(std::string url, std::string run, int window_s)
      : url_(std::move(url)), run_(std::move(run)), window_s_(window_s), client_(url_) {}

  absl::StatusOr<Frame> Read() override {
    Frame frame{.time_s = Now(), .panels = {}};
    for (const Panel& panel : Panels()) {
      ASSIGN_OR_RETURN(frame.panels[std::string(panel.id)], Query(panel));
    }
    return frame;
  }

 private:
  absl::StatusOr<PanelValues> Query(const Panel& panel) {
    ASSIGN_OR_RETURN(const std::string text,
                     Get(client_, url_, "/api/v1/query", {{"query", PromQl(panel, run_, window_s_)}}));
    absl::StatusOr<PanelValues> values = ReadAnswer(text, panel.by);
    if (values.ok()) return values;
    return absl::InvalidArgumentError(absl::StrCat(url_, " does not answer as a Prometheus does (",
                                                   values.status().message(), "): is the address right?"));
  }

  std::string url_, run_;
  int window_s_;
  httplib::Client client_;
};

}  // namespace

double Frame::Value(absl::string_view panel, absl::string_view label) const {
  const auto values = panels.find(std::string(panel));
  if (values == panels.end()) return std::numeric_limits<double>::quiet_NaN();
  const auto value = values->second.find(std::string(label));
  return value == values->second.end() ? std::numeric_limits<double>::quiet_NaN() : value->second;
}

std::unique_ptr<Source> MakeLocalSource(const std::string& targets_path, int window_s) {
  return std::make_unique<LocalSource>(targets_path, window_s);
}

absl::StatusOr<std::unique_ptr<Source>> MakePrometheusSource(const std::string& url, const std::string& run,
                                                             int window_s) {
  if (!absl::StartsWith(url, "http://") && !absl::StartsWith(url, "https://")) {
    return absl::InvalidArgumentError(absl::StrCat("--prometheus is ", url, ": expected http://HOST:PORT."));
  }
  if (run.find_first_of("\"\\\n") != std::string::npos)
    return absl::InvalidArgumentError(absl::StrCat("--run is ", run, ": expected a name without quotes."));
  const std::string trimmed = url.back() == '/' ? url.substr(0, url.size() - 1) : url;
  return std::make_unique<PrometheusSource>(trimmed, run, window_s);
}

}  // namespace tactus::top
