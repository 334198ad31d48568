// SPDX-License-Identifier: Apache-2.0
// The one family of errors. Thrown anywhere, caught once in main, which prints describe() and
// exits with code(). A message answers four questions; docs/cli.md lists the exit codes.
#pragma once

#include <stdexcept>
#include <string>

namespace indexcache {

enum class ExitCode : int {
  success = 0,
  gate_failed = 1,      // quality below the limits of a gate
  usage = 2,            // command line or configuration file
  input = 3,            // model, calibration data or pattern
  resource = 4,         // memory, disk, device
  resume_mismatch = 5,  // the run folder belongs to a run with other settings
  internal = 70,        // a bug of this program
};

// Parts that are longer than a few hundred bytes lose their middle.
struct Problem {
  std::string what;    // what happened
  std::string where;   // file, line, tensor, layer or option; may be empty
  std::string why;     // cause, with numbers; may be empty
  std::string remedy;  // a concrete thing to try; may be empty
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, Problem problem);

  ExitCode code() const { return code_; }
  const Problem& problem() const { return problem_; }

  // "error: what", then indented lines "at:", "why:" and "try:" for what is known.
  std::string describe() const;

 private:
  ExitCode code_;
  Problem problem_;
};

template <ExitCode kCode>
class ErrorOf : public Error {
 public:
  explicit ErrorOf(Problem problem) : Error(kCode, std::move(problem)) {}
};

using UsageError = ErrorOf<ExitCode::usage>;
using InputError = ErrorOf<ExitCode::input>;
using ResourceError = ErrorOf<ExitCode::resource>;
using ResumeMismatch = ErrorOf<ExitCode::resume_mismatch>;
using InternalError = ErrorOf<ExitCode::internal>;

}  // namespace indexcache
