// SPDX-License-Identifier: Apache-2.0
#include "present/page_distillation.h"

#include "core/count_text.h"
#include "core/progress.h"
#include "present/charts.h"
#include "present/charts_distillation.h"
#include "present/distillation_text.h"
#include "present/escape.h"
#include "present/html.h"
#include "present/page_engines.h"
#include "present/target_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

namespace indexcache {
namespace {

using Rows = std::vector<std::vector<std::string>>;

std::string nats4(double value) {
  return fmt::format("{:+.4f}", value);
}

std::string interval4(const PairedDifference& delta) {
  return delta.ci95 ? fmt::format("{} to {}", nats4(delta.ci95->first), nats4(delta.ci95->second))
                    : "";
}

std::string percent(const std::optional<double>& share) {
  return share ? fmt::format("{:.1f}%", 100 * *share) : "";
}

// What judged: in the middle of a sentence.
const char* judge_name(const Distillation& d) {
  return d.judge_is_held_out ? "held-out" : "validation";
}

const PairedDifference& increase_before(const Distillation& d) {
  return d.find("pattern", "checkpoint")->measured.delta;
}

const PairedDifference& increase_after(const Distillation& d) {
  return d.find("pattern", d.chosen)->measured.delta;
}

std::string layers_text(const TrainedLayer& layer) {
  return layer.end == layer.layer + 1 ? fmt::format("{}", layer.layer)
                                      : fmt::format("{} to {}", layer.layer, layer.end - 1);
}

// "150 dense and 60 sparse".
std::string steps_text(const Distillation& d) {
  std::vector<std::string> stages;
  for (const TrainingStage& stage : d.stages) {
    stages.push_back(fmt::format("{} {}", count_text(stage.steps_done), stage.name));
  }
  return fmt::format("{}", fmt::join(stages, " and "));
}

// "1 sequence", "48 sequences".
std::string sequences_text(std::size_t count) {
  return fmt::format("{} sequence{}", count_text(static_cast<std::int64_t>(count)),
                     count == 1 ? "" : "s");
}

std::string distillation_facts(const Distillation& d) {
  const PairedDifference& before = increase_before(d);
  const PairedDifference& after = increase_after(d);
  std::string text = html_fact(
      fmt::format("{} → {}", nats4(before.mean), nats4(after.mean)),
      fmt::format("{} loss increase of the pattern over all-Full, nats per token{}", judge_name(d),
                  d.change.ci95 ? "" : "; a single sequence gives no interval"));
  const auto better =
      std::ranges::count_if(d.change.per_sequence, [](double change) { return change < 0; });
  text += html_fact(fmt::format("{} of {}", better, d.change.per_sequence.size()),
                    fmt::format("{} sequences have a lower loss than before; {} tokens",
                                judge_name(d), count_text(d.judge.tokens)));
  text += html_fact(fmt::format("{} of {}", d.layers.size(), d.model.layers),
                    "layers had their indexer trained; no other weights change");
  if (!d.stages.empty()) {
    std::int64_t steps = 0;
    for (const TrainingStage& stage : d.stages) steps += stage.steps_done;
    const auto& seconds = d.provenance.search_seconds;
    text += html_fact(count_text(steps),
                      fmt::format("training steps ({}) on {}{}", steps_text(d),
                                  sequences_text(d.training.sequences),
                                  seconds ? ", in " + format_duration(*seconds) : ""));
  }
  return "<div class=\"facts\">\n" + text + "</div>\n";
}

std::string serving_html(const Distillation& d) {
  if (!d.gain) {
    return "<p class=\"muted\">No checkpoint was written: serve the base checkpoint, or "
           "distill again with more data or more steps.</p>\n";
  }
  std::string text =
      "<p class=\"muted\">The folder <code>model</code> next to this page is the checkpoint with "
      "the trained indexers. Serve it instead of the base checkpoint. Commands are for the folder "
      "of this page.</p>\n";
  text += html_copy("measure it on other data",
                    fmt::format("indexcache-search eval model {} -c DATA", d.pattern.text()));
  text += html_copy("check it for an engine, and print the engine's keys",
                    fmt::format("indexcache-search export {} -m model --all", d.pattern.text()));
  return text + engines_html(d.model, d.pattern, true);
}

std::string distillation_card(const Distillation& d) {
  std::string text = fmt::format("<div class=\"card\">\n<p class=\"verdict {}\">{}</p>\n",
                                 d.gain ? "good" : "bad", escape_markup(distillation_verdict(d)));
  if (!d.complete) {
    text +=
        "<p class=\"warning\">The time budget ended the training; the same command with more "
        "time continues it.</p>\n";
  }
  text += distillation_facts(d);
  text += pattern_html(d.model, d.pattern);
  return text + serving_html(d) + "</div>\n";
}

Rows judged_table(const Distillation& d) {
  Rows rows = {{"pattern and indexers", "loss", "loss increase", "95%"}};
  for (const JudgedPattern* judged : judged_rows(d)) {
    const Measured& measured = judged->measured;
    rows.push_back({judged_text(d, *judged), loss_text(measured.loss), nats4(measured.delta.mean),
                    interval4(measured.delta)});
  }
  return rows;
}

std::string gain_html(const Distillation& d) {
  std::string caption = fmt::format(
      "Loss increase over all-Full before training ({} nats per token) on {} {}.",
      loss_text(d.baseline_loss), count_text(static_cast<std::int64_t>(d.judge.sequences)),
      d.judge.sequences == 1 ? fmt::format("{} sequence", judge_name(d))
                             : fmt::format("{} sequences", judge_name(d)));
  if (d.change.ci95) caption += " Thin lines: 95% intervals.";
  if (!d.judge_is_held_out) caption += " They also decided when training stopped.";
  if (d.find("uniform", "checkpoint") == nullptr) caption += " The pattern is the uniform one.";
  if (d.find("all-Full", d.chosen) != nullptr && d.chosen != "checkpoint") {
    caption += " All-Full after training shows what the indexers lose for their own layer.";
  }
  return html_section("What does training gain?", caption,
                      judged_bars(d).inline_text() + html_table(judged_table(d)));
}

std::string served_html(const Distillation& d) {
  std::string caption =
      "F layers run their indexer; an S layer uses the set of the layer named below it.";
  caption += d.teacher == "segment"
                 ? " The indexer of an F layer learned from the attention of all layers that use "
                   "its set."
                 : " As a control, each indexer learned only from its own layer.";
  return html_section("Which layers select for which?", caption,
                      pattern_strip(d.pattern).inline_text());
}

Rows mass_table(const Distillation& d) {
  Rows rows = {{"layer", "serves layers", "attention before", "after", "first KL", "last KL"}};
  const auto divergence = [&](const TrainingStage* stage, bool first, std::size_t i) {
    if (stage == nullptr || stage->validation.empty()) return std::string();
    const TrainingPoint& point = first ? stage->validation.front() : stage->validation.back();
    return fmt::format("{:.4f}", point.divergences[i]);
  };
  const auto chosen = std::ranges::find(d.stages, d.chosen, &TrainingStage::name);
  const TrainingStage* stage = chosen == d.stages.end() ? nullptr : &*chosen;
  for (std::size_t i = 0; i < d.layers.size(); ++i) {
    const TrainedLayer& layer = d.layers[i];
    rows.push_back({fmt::format("{}", layer.layer), layers_text(layer), percent(layer.mass_before),
                    percent(layer.mass_after), divergence(stage, true, i),
                    divergence(stage, false, i)});
  }
  return rows;
}

std::string mass_html(const Distillation& d) {
  if (d.layers.empty()) return "";
  const bool known = std::ranges::any_of(d.layers, has_mass);
  std::string caption = fmt::format(
      "Share of the attention of the served layers that the selected positions have, on "
      "validation sequences, of queries that see more than {} positions. The KL divergence is that "
      "of the chosen stage, in validation.",
      count_text(d.model.index_topk));
  if (!known) caption += " No sequence was long enough to measure the share.";
  return html_section("Do the selected positions get more of the attention?", caption,
                      known ? attention_mass(d).inline_text() +
                                  html_details("each layer, as a table", html_table(mass_table(d)))
                            : html_table(mass_table(d)));
}

const char* stage_caption(const TrainingStage& stage) {
  if (stage.name == "dense") return "The model attends to every position.";
  if (stage.name == "sparse") return "The pattern runs, and only selected positions count.";
  return "";
}

// What the chart of a stage shows at validations, layer by layer.
Rows validation_table(const Distillation& d, const TrainingStage& stage) {
  Rows rows = {{"step", "mean"}};
  for (const TrainedLayer& layer : d.layers) {
    rows[0].push_back(fmt::format("layer {}", layer.layer));
  }
  for (const TrainingPoint& point : stage.validation) {
    if (point.divergences.empty()) continue;
    rows.push_back({fmt::format("{}", point.step), fmt::format("{:.4f}", mean_divergence(point))});
    for (const double value : point.divergences)
      rows.back().push_back(fmt::format("{:.4f}", value));
  }
  return rows;
}

// What became of the indexers of a stage.
const char* outcome_text(const Distillation& d, const TrainingStage& stage) {
  if (stage.name != d.chosen) return "Another stage was chosen.";
  if (d.gain) return "The indexers of this stage were written.";
  return "Its indexers were not written, because they show no gain.";
}

std::string stage_html(const Distillation& d, const TrainingStage& stage) {
  const std::string caption = fmt::format(
      "{} KL divergence of the indexers from their teacher. A dot marks the step whose parameters "
      "a layer keeps. Validation loss of the pattern: {} before training, {} after this stage. {}",
      stage_caption(stage), loss_text(d.validation_loss_before), loss_text(stage.validation_loss),
      outcome_text(d, stage));
  return html_section(
      fmt::format("What does the {} stage learn?{}", stage.name,
                  stage.name == d.chosen ? " (chosen)" : ""),
      caption,
      training_curve(d, stage).inline_text() +
          html_details("validations, as a table", html_table(validation_table(d, stage))));
}

std::string changes_html(const Distillation& d) {
  const std::string title = fmt::format("Change of the loss of each {} sequence", judge_name(d));
  Rows rows = {{fmt::format("{} sequence", judge_name(d)), "change of the loss"}};
  for (const double change : d.change.per_sequence) {
    rows.push_back({fmt::format("{}", rows.size() - 1), nats4(change)});
  }
  return html_section(
      "Do a few sequences dominate the mean?",
      title + ", from before training to the chosen stage.",
      sequence_bars(d.change, title, "change of the loss, nats per token").inline_text() +
          html_details("all sequences", html_table(rows)));
}

// Settings in rows, stages in columns.
Rows settings_table(const Distillation& d) {
  Rows rows = {{"stage"},
               {"steps done"},
               {"steps asked for"},
               {"highest rate"},
               {"schedule"},
               {"sequences per step"},
               {"queries per step"},
               {"gradient norm, at most"},
               {"validations"},
               {"validation loss after it"}};
  for (const TrainingStage& stage : d.stages) {
    const std::vector<std::string> values = {
        stage.name,
        count_text(stage.steps_done),
        count_text(stage.steps),
        fmt::format("{:.3g}", stage.rate),
        stage.schedule,
        count_text(stage.batch),
        stage.query_interval == 1 ? "all" : fmt::format("1 of {}", stage.query_interval),
        stage.clip == 0 ? "no limit" : fmt::format("{:.3g}", stage.clip),
        fmt::format("{}", stage.validation.size()),
        loss_text(stage.validation_loss)};
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].push_back(values[i]);
  }
  return rows;
}

// The value of the first field of that name; nothing if there is none.
std::optional<std::string> fingerprint_value(const Distillation& d, const std::string& field) {
  const auto found = std::ranges::find(d.fingerprint, field, &Fingerprint::value_type::first);
  return found == d.fingerprint.end() ? std::nullopt : std::optional(found->second);
}

std::string stage_steps(const Distillation& d, const std::string& name) {
  const auto found = std::ranges::find(d.stages, name, &TrainingStage::name);
  if (found != d.stages.end()) return fmt::format("{}", found->steps);
  return fingerprint_value(d, name + " steps").value_or("0");
}

// MODEL and DATA are for the reader to fill in: files do not say where they were.
std::string repeat_command(const Distillation& d) {
  std::string text = fmt::format("indexcache-search distill MODEL -p {} -c DATA --steps {}",
                                 d.pattern.text(), stage_steps(d, "dense"));
  text += fmt::format(" --sparse-steps {}", stage_steps(d, "sparse"));
  for (const TrainingStage& stage : d.stages) {
    text += fmt::format(" --{}rate {:.6g}", stage.name == "sparse" ? "sparse-" : "", stage.rate);
  }
  if (!d.stages.empty()) {
    const TrainingStage& stage = d.stages.front();
    text += fmt::format(" --schedule {} --batch {} --query-interval {} --clip {:.6g}",
                        stage.schedule, stage.batch, stage.query_interval, stage.clip);
  }
  for (const auto& [field, option] :
       {std::pair("warm-up", "--warmup"), std::pair("validation every", "--validate-every"),
        std::pair("patience", "--patience")}) {
    if (const auto value = fingerprint_value(d, field)) {
      text += fmt::format(" {} {}", option, *value);
    }
  }
  if (d.teacher == "own") text += " --own";
  return text + " -o DIR";
}

std::string training_html(const Distillation& d) {
  const std::string content =
      (d.stages.empty() ? std::string() : html_table(settings_table(d))) +
      html_copy("the same training again, with the model as MODEL and the sequences as DATA",
                repeat_command(d));
  return html_section(
      "How was it trained?",
      fmt::format("On {} ({} tokens); {} decided which parameters to keep.",
                  sequences_text(d.training.sequences), count_text(d.training.tokens),
                  sequences_text(d.validation.sequences)),
      content);
}

std::string distillation_provenance(const Distillation& d) {
  const Provenance& provenance = d.provenance;
  std::vector<std::pair<std::string, std::string>> facts = {
      {"program", fmt::format("indexcache-search {}, numerics version {}", provenance.tool_version,
                              provenance.numerics_version)},
      {"device", device_text(provenance)},
      {"written", provenance.created_at},
      {"model", fmt::format("{}, {}, {} layers, top-{}", d.model.name, d.model.architecture,
                            d.model.layers, d.model.index_topk)},
      {"training", tokens_text(d.training)},
      {"validation", tokens_text(d.validation)},
      {"judge", d.judge_is_held_out ? tokens_text(d.judge) : "the validation sequences"},
      {"loss with every indexer", fmt::format("{} nats per token", loss_text(d.baseline_loss))}};
  facts.insert(facts.end(), d.fingerprint.begin(), d.fingerprint.end());
  return html_section("Data and provenance", "Everything that is needed to repeat the training.",
                      html_facts(facts));
}

}  // namespace

std::string distillation_page(const Distillation& d) {
  std::string body = fmt::format(
      "<h1>{}</h1>\n<p class=\"muted\">IndexCache indexers, trained for a pattern with {} of {} F "
      "layers · {} · {}</p>\n",
      escape_markup(d.model.name), d.pattern.full_count(), d.pattern.layers(),
      escape_markup(d.provenance.device), escape_markup(d.provenance.created_at));
  body += html_warnings(d.warnings) + distillation_card(d) + "<div class=\"grid\">\n";
  body += gain_html(d) + served_html(d) + mass_html(d);
  for (const TrainingStage& stage : d.stages) body += stage_html(d, stage);
  body += changes_html(d) + training_html(d) + distillation_provenance(d) + "</div>\n";
  return html_document("IndexCache, trained indexers: " + d.model.name, body);
}

std::string distillation_markdown(const Distillation& d) {
  std::string text =
      fmt::format("### Trained IndexCache indexers for {}\n\n{}\n\n```\n{}\n```\n\n",
                  escape_markdown(d.model.name), distillation_verdict(d), d.pattern.text());
  text += "| | loss increase, nats per token |\n|---|---|\n";
  for (const JudgedPattern* judged : judged_rows(d)) {
    text += fmt::format("| {} | {} |\n", escape_markdown(judged_text(d, *judged)),
                        rise_text(judged->measured));
  }
  text += "\n";
  if (!d.complete) text += "> **Warning:** the time budget ended the training\n\n";
  for (const std::string& warning : d.warnings) {
    text += fmt::format("> **Warning:** {}\n\n", escape_markdown(warning));
  }
  return text + fmt::format("{}, {}\n", escape_markdown(d.provenance.device),
                            escape_markdown(d.provenance.created_at));
}

std::vector<std::pair<std::string, Svg>> distillation_charts(const Distillation& d) {
  std::vector<std::pair<std::string, Svg>> charts = {{"pattern", pattern_strip(d.pattern)},
                                                     {"gain", judged_bars(d)}};
  for (std::size_t s = 0; s < d.stages.size(); ++s) {
    charts.emplace_back(fmt::format("training-{}", s + 1), training_curve(d, d.stages[s]));
  }
  if (std::ranges::any_of(d.layers, has_mass)) charts.emplace_back("attention", attention_mass(d));
  charts.emplace_back("sequences", sequence_bars(d.change, "Change of the loss of each sequence",
                                                 "change of the loss, nats per token"));
  return charts;
}

}  // namespace indexcache
