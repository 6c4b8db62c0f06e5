#include "tools/command.h"

namespace tactus {

std::span<const Command* const> Commands() {
  static constexpr const Command* kCommands[] = {
      &kTrainCommand,    &kTopCommand,      &kStudyCommand,       &kSftCommand,         &kRanksCommand,
      &kReportCommand,   &kRhythmCommand,   &kRhythmStudyCommand, &kCreditStudyCommand, &kEvalCommand,
      &kAverageCommand,  &kGenerateCommand, &kScoreCommand,       &kCheckConfigCommand, &kPlanCommand,
      &kTokenizeCommand, &kVerifyCommand,   &kLossCommand,
  };
  return kCommands;
}

}  // namespace tactus
