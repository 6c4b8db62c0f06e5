#include "common/collective/rank_watch.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "common/base/cond_var.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/thread.h"
#include "common/collective/bounded_call.h"

namespace tactus {
namespace {

using Clock = std::chrono::steady_clock;

constexpr absl::Duration kPollInterval = absl::Milliseconds(20);
// Beyond the grace, for a board that answers slowly or not at all.
constexpr absl::Duration kPatience = absl::Seconds(2);
// Enough beats to tell a silent rank from a living one when the board goes away while it is read, and to take a board
// that does not answer for gone.
constexpr int kBeatsToJudge = 3;
constexpr char kRefusedKey[] = "refused";
constexpr char kTroubleKey[] = "trouble";
constexpr char kHostIsGone[] = "rank 0, which holds the store, does not answer and is probably gone";

std::string HelloKey(int rank) { return absl::StrCat("hello/", rank); }
std::string RecordKey(int rank) { return absl::StrCat("record/", rank); }

absl::Duration Since(Clock::time_point start) { return absl::FromChrono(Clock::now() - start); }

std::string Ranks(const std::vector<int>& ranks) {
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

}  // namespace

// On the board as "STATE BEATS SEQUENCE WHAT".
struct RankWatch::Record {
  enum class State {
    kAlive,
    kFailed,   // looking for the cause
    kOver,     // failed, and has read what it wanted
    kAborted,  // its owner gave up
    kLeft,
  };
  State state = State::kAlive;
  int64_t beats = 0;
  int64_t sequence = 0;  // of the newest operation; 0 before the first
  std::string what;

  std::string Text() const { return absl::StrCat(static_cast<int>(state), " ", beats, " ", sequence, " ", what); }

  static absl::StatusOr<Record> Of(const std::string& text) {
    Record record;
    if (text.empty()) return record;
    const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits(' ', 3));
    int state = 0;
    if (parts.size() != 4 || !absl::SimpleAtoi(parts[0], &state) || !absl::SimpleAtoi(parts[1], &record.beats) ||
        !absl::SimpleAtoi(parts[2], &record.sequence) || state < 0 || state > static_cast<int>(State::kLeft))
      return absl::DataLossError(absl::StrCat("not a record of a rank: ", text));
    record.state = static_cast<State>(state);
    record.what = parts[3];
    return record;
  }
};

namespace {

// One reading of every other rank's record, again and again until each rank has shown what became of it.
template <typename Record>
class Inquiry {
 public:
  using State = typename Record::State;

  Inquiry(const RankWatch::Options& options, int64_t sequence, std::string what)
      : options_(options), sequence_(sequence), what_(std::move(what)) {}

  std::string Run(const RankBoard& shared_board) {
    const Clock::time_point start = Clock::now();
    auto board = shared_board.Reopen();
    if (!board.ok() || !Read(**board, first_).ok()) return kHostIsGone;
    last_ = first_;
    absl::Duration watched;
    do {
      std::this_thread::sleep_for(absl::ToChronoMilliseconds(kPollInterval));
      std::vector<Record> next;
      if (!Read(**board, next).ok()) {
        if (watched < kBeatsToJudge * options_.beat) return kHostIsGone;
        break;
      }
      last_ = std::move(next);
      watched = Since(start);
    } while (watched < options_.grace && !EveryoneShown());
    return Verdict();
  }

 private:
  absl::Status Read(RankBoard& board, std::vector<Record>& records) const {
    for (int rank = 0; rank < options_.world; ++rank) {
      ASSIGN_OR_RETURN(const std::string text, board.Read(RecordKey(rank)));
      ASSIGN_OR_RETURN(records.emplace_back(), Record::Of(text));
    }
    return absl::OkStatus();
  }

  // Rank 0, which holds the board, goes last.
  bool EveryoneShown() const {
    for (int rank = 0; rank < options_.world; ++rank) {
      if (rank == options_.rank) continue;
      const Record& record = last_[static_cast<size_t>(rank)];
      const bool shown = options_.rank == 0 ? record.state != State::kAlive && record.state != State::kFailed
                                            : record.state != State::kAlive || Beats(rank);
      if (!shown) return false;
    }
    return true;
  }

  bool Beats(int rank) const {
    return last_[static_cast<size_t>(rank)].beats > first_[static_cast<size_t>(rank)].beats;
  }

  // "" when this rank did what it should.
  std::string Blame(int rank) const {
    const Record& record = last_[static_cast<size_t>(rank)];
    const std::string name = absl::StrCat("rank ", rank);
    const std::string last = record.sequence == 0 ? "" : absl::StrCat(", its last being ", record.what);
    if (record.state == State::kLeft) return absl::StrCat(name, " has left the group");
    if (record.state == State::kAborted) return absl::StrCat(name, " has aborted");
    if (record.state == State::kAlive && !Beats(rank)) return absl::StrCat(name, " shows no sign of life", last);
    if (record.sequence < sequence_ && record.state == State::kAlive)
      return absl::StrCat(name, " is alive but has not come", last);
    if (record.sequence == sequence_ && !what_.empty() && record.what != what_)
      return absl::StrCat(name, " came with ", record.what, " where this rank has ", what_);
    return "";
  }

  std::string Verdict() const {
    std::vector<std::string> blames;
    for (int rank = 0; rank < options_.world; ++rank) {
      if (rank == options_.rank) continue;
      std::string blame = Blame(rank);
      if (!blame.empty()) blames.push_back(std::move(blame));
    }
    if (!blames.empty()) return absl::StrJoin(blames, ", ");
    const auto waited = [this](const Record& record) {
      return record.state != State::kAlive && record.sequence > sequence_;
    };
    return std::any_of(last_.begin(), last_.end(), waited) ? "the others had waited for this rank"
                                                           : "every rank came and lives";
  }

  const RankWatch::Options options_;
  const int64_t sequence_;
  const std::string what_;
  std::vector<Record> first_, last_;  // by rank
};

}  // namespace

absl::StatusOr<std::vector<std::string>> MeetRanks(RankBoard& board, int rank, int world, const std::string& place,
                                                   absl::Duration timeout) {
  // The others need not wait any longer either.
  const auto refuse = [&](const absl::Status& status) {
    board.Write(kRefusedKey, std::string(status.message())).IgnoreError();
    return status;
  };
  const Clock::time_point start = Clock::now();
  ASSIGN_OR_RETURN(const int64_t claims, board.Increment(absl::StrCat("claims/", rank)));
  if (claims > 1) return refuse(absl::AlreadyExistsError(absl::StrCat("two processes came as rank ", rank)));
  RETURN_IF_ERROR(board.Write(HelloKey(rank), absl::StrCat(world, " ", place)));
  std::vector<std::string> places(static_cast<size_t>(world));
  std::vector<int> missing;
  do {
    if (!missing.empty()) std::this_thread::sleep_for(absl::ToChronoMilliseconds(kPollInterval));
    missing.clear();
    for (int other = 0; other < world; ++other) {
      ASSIGN_OR_RETURN(const std::string hello, board.Read(HelloKey(other)));
      const std::pair<std::string, std::string> parts = absl::StrSplit(hello, absl::MaxSplits(' ', 1));
      if (hello.empty()) {
        missing.push_back(other);
      } else if (parts.first != absl::StrCat(world)) {
        return refuse(absl::InvalidArgumentError(absl::StrCat("rank ", other, " was started for a world of ",
                                                              parts.first, ", rank ", rank, " for one of ", world)));
      }
      places[static_cast<size_t>(other)] = parts.second;
    }
    ASSIGN_OR_RETURN(const std::string refused, board.Read(kRefusedKey));
    if (!refused.empty() && !missing.empty()) return absl::InvalidArgumentError(refused);
  } while (!missing.empty() && Since(start) < timeout);
  if (missing.empty()) return places;
  return absl::UnavailableError(absl::StrCat(Ranks(missing), " did not come within ", absl::FormatDuration(timeout)));
}

// The record and its thread.
class RankWatch::Pulse : public std::enable_shared_from_this<RankWatch::Pulse> {
 public:
  Pulse(const Options& options, std::shared_ptr<RankBoard> board) : options_(options), board_(std::move(board)) {}

  void Start() {
    absl::StatusOr<std::thread> thread = StartThread("signs of life", [self = shared_from_this()] { self->Run(); });
    if (thread.ok()) {
      thread_ = *std::move(thread);
    } else {  // the other ranks miss the signs and give up
      TACTUS_LOG(ERROR) << thread.status().message();
      absl::MutexLock lock(&mutex_);
      ended_ = true;
    }
  }

  void Stop() {
    {
      // Waits for a give_up that is under way.
      absl::MutexLock lock(&give_up_mutex_);
      give_up_ = nullptr;
    }
    bool ended = false;
    {
      absl::MutexLock lock(&mutex_);
      stopped_ = true;
      changed_.SignalAll();
      if (record_.state == Record::State::kAlive) record_.state = Record::State::kLeft;
    }
    Publish();
    {
      absl::MutexLock lock(&mutex_);
      ended = changed_.AwaitFor(&mutex_, kPatience, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ended_; });
    }
    if (!thread_.joinable()) return;
    if (ended) {
      thread_.join();
    } else {
      thread_.detach();
    }
  }

  void OnTrouble(std::function<void()> give_up) {
    absl::MutexLock lock(&give_up_mutex_);
    give_up_ = std::move(give_up);
  }

  void Arrived(int64_t sequence, const std::string& what) {
    absl::MutexLock lock(&mutex_);
    record_.sequence = sequence;
    record_.what = what;
  }

  void SetState(Record::State state) {
    {
      absl::MutexLock lock(&mutex_);
      record_.state = state;
    }
    Publish();
    if (state == Record::State::kFailed || state == Record::State::kAborted)
      board_->Write(kTroubleKey, "x").IgnoreError();
  }

  const RankBoard& board() const { return *board_; }

 private:
  // A board that hangs holds up who publishes, and not Arrived.
  void Publish() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock in_order(&publish_mutex_);
    std::string text;
    {
      absl::MutexLock lock(&mutex_);
      text = record_.Text();
    }
    board_->Write(RecordKey(options_.rank), text).IgnoreError();
  }

  void Run() {
    Beat();
    absl::MutexLock lock(&mutex_);
    ended_ = true;
    changed_.SignalAll();
  }

  void Beat() {
    const auto reader = board_->Reopen();  // a reading that hangs must not hold up writing
    bool trouble = false;
    int unanswered = 0;  // in a row
    while (true) {
      {
        absl::MutexLock lock(&mutex_);
        if (stopped_) return;
        record_.beats += 1;
      }
      Publish();
      if (reader.ok() && !trouble) {
        const auto text = (*reader)->Read(kTroubleKey);
        unanswered = text.ok() ? 0 : unanswered + 1;
        trouble = unanswered == kBeatsToJudge || (text.ok() && !text->empty());
        if (trouble) GiveUp();
      }
      absl::MutexLock lock(&mutex_);
      changed_.AwaitFor(&mutex_, options_.beat, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopped_; });
    }
  }

  void GiveUp() {
    absl::MutexLock lock(&give_up_mutex_);
    if (give_up_ != nullptr) give_up_();
  }

  const Options options_;
  const std::shared_ptr<RankBoard> board_;
  absl::Mutex publish_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);
  absl::Mutex mutex_;
  CondVar changed_;  // stopped_ or ended_
  Record record_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;  // the thread has nothing more to do
  absl::Mutex give_up_mutex_;
  std::function<void()> give_up_ ABSL_GUARDED_BY(give_up_mutex_);
  std::thread thread_;
};

RankWatch::RankWatch(const Options& options, std::shared_ptr<RankBoard> board)
    : options_(options), pulse_(std::make_shared<Pulse>(options, std::move(board))) {
  pulse_->Start();
}

RankWatch::~RankWatch() { pulse_->Stop(); }

void RankWatch::OnTrouble(std::function<void()> give_up) { pulse_->OnTrouble(std::move(give_up)); }

void RankWatch::Arrived(int64_t sequence, const std::string& what) { pulse_->Arrived(sequence, what); }

void RankWatch::Aborted() { pulse_->SetState(Record::State::kAborted); }

void RankWatch::Failed() { pulse_->SetState(Record::State::kFailed); }

std::string RankWatch::WhoIsMissing(int64_t sequence, const std::string& what) {
  const std::optional<std::string> verdict =
      CallBounded<std::string>(options_.grace + kPatience, [options = options_, sequence, what, pulse = pulse_] {
        return Inquiry<Record>(options, sequence, what).Run(pulse->board());
      });
  pulse_->SetState(Record::State::kOver);
  return verdict.value_or(kHostIsGone);
}

}  // namespace tactus
