// SPDX-License-Identifier: Apache-2.0
#include "run/rank_service.h"

#include "core/error.h"
#include "run/provenance.h"
#include "version.h"

#include <fmt/format.h>

#include <utility>

namespace indexcache {
namespace {

int serve(const Model& model, const std::vector<const TokenSet*>& token_sets, Backends backends,
          DeviceOptions options, const Fingerprint& fingerprint, Ranks& ranks) {
  options.weights = ranks.introduce(fingerprint, device_names(backends));
  Session session(model, std::move(backends), options);
  return session.serve(ranks, token_sets);
}

}  // namespace

Fingerprint rank_fingerprint(Fingerprint of_run) {
  of_run.emplace(of_run.begin(), "program version", kToolVersion);
  return of_run;
}

Fingerprint rank_fingerprint(const Model& model, const TokenSet& tokens,
                             const std::string& device) {
  return rank_fingerprint({{"numerics version", fmt::format("{}", kNumericsVersion)},
                           {"device", device},
                           {"model config sha256", model.config_sha256},
                           {"model weights layout sha256", model.checkpoint.layout_sha256()},
                           {"mla-norm-eps", fmt::format("{}", model.config.mla_norm_eps)},
                           {"calibration tokens sha256", tokens.fingerprint()}});
}

int serve_run(const SearchOptions& options, Ranks& ranks) {
  Progress silent(Progress::Style::off);
  Backends backends = make_backends(options.device);
  const Model model = open_model(options.device);
  const SearchSubject subject = open_subject(options, model, *backends.front(), silent);
  const Fingerprint fingerprint =
      rank_fingerprint(fingerprint_of(model, subject, kinds_of(backends)));
  std::vector<const TokenSet*> token_sets = {&subject.data.search};
  if (subject.data.holdout) token_sets.push_back(&*subject.data.holdout);
  return serve(model, token_sets, std::move(backends), options.device, fingerprint, ranks);
}

int serve_tokens(const Model& model, const TokenSet& tokens, Backends backends,
                 const DeviceOptions& options, Ranks& ranks) {
  const Fingerprint fingerprint = rank_fingerprint(model, tokens, kinds_of(backends));
  return serve(model, {&tokens}, std::move(backends), options, fingerprint, ranks);
}

void admit_to(Session& session, const Model& model, const TokenSet& tokens, Ranks& ranks) {
  ranks.admit(rank_fingerprint(model, tokens, session.kinds()), session.weights_name(),
              session.allows_mixed());
  session.add(ranks);
}

void require_one_process(const Ranks& ranks, const std::string& what) {
  if (ranks.size() == 1) return;
  throw UsageError({fmt::format("{} runs in one process", what),
                    fmt::format("{} ranks", ranks.size()),
                    "trained indexers are not sent to other ranks",
                    "one process, which uses all GPUs of its node"});
}

}  // namespace indexcache
