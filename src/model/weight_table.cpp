// SPDX-License-Identifier: Apache-2.0
#include "model/weight_table.h"

#include "core/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace indexcache {
namespace {

TensorSpec tensor_of(const WeightRow& row, const std::string& name) {
  if (row.form == WeightForm::row) return {name, {row.cols}, false, row.optional};
  return {.name = name,
          .shape = {row.rows, row.cols},
          .quantized = row.quantized,
          .optional = row.optional,
          .packed = row.packed,
          .table = row.form == WeightForm::table};
}

}  // namespace

WeightRow row_weight(WeightRole role, const std::string& name, std::int64_t cols) {
  return {.role = role, .form = WeightForm::row, .names = {name}, .rows = 1, .cols = cols};
}

WeightRow matrix_weight(WeightRole role, const std::string& name, std::int64_t rows,
                        std::int64_t cols) {
  return {.role = role, .form = WeightForm::matrix, .names = {name}, .rows = rows, .cols = cols};
}

WeightRow projection_weight(WeightRole role, const std::string& name, std::int64_t rows,
                            std::int64_t cols) {
  WeightRow row = matrix_weight(role, name, rows, cols);
  row.quantized = true;
  return row;
}

WeightRow exact_weight(WeightRole role, const std::string& name, std::int64_t rows,
                       std::int64_t cols) {
  WeightRow row = matrix_weight(role, name, rows, cols);
  row.form = WeightForm::exact;
  return row;
}

bool is_indexer(WeightRole role) {
  return role >= WeightRole::index_q && role <= WeightRole::index_weights;
}

WeightTable indexer_rows(const WeightTable& table) {
  WeightTable rows;
  std::ranges::copy_if(table, std::back_inserter(rows), is_indexer, &WeightRow::role);
  return rows;
}

WeightTable trunk_rows(const WeightTable& table) {
  WeightTable rows;
  std::ranges::remove_copy_if(table, std::back_inserter(rows), is_indexer, &WeightRow::role);
  return rows;
}

const WeightRow& row_of(const WeightTable& table, WeightRole role) {
  const auto found = std::ranges::find(table, role, &WeightRow::role);
  if (found != table.end()) return *found;
  throw InternalError({"a family's table has no row for a role",
                       fmt::format("role {}", static_cast<int>(role)), "", ""});
}

WeightRow& row_of(WeightTable& table, WeightRole role) {
  return const_cast<WeightRow&>(row_of(std::as_const(table), role));
}

std::string expert_name(const std::string& name, std::int64_t expert) {
  const std::size_t at = name.find("{}");
  return at == name.npos ? name : name.substr(0, at) + std::to_string(expert) + name.substr(at + 2);
}

std::vector<TensorSpec> stored_tensors(const WeightTable& table, bool stacked) {
  std::vector<TensorSpec> tensors;
  for_each_weight(table, [&](const WeightRow& row, std::int64_t expert) {
    if (stacked && !row.stack.empty()) {
      const auto parts = static_cast<std::int64_t>(row.names.size());
      if (expert == 0)
        tensors.push_back({row.stack, {row.experts, parts * row.rows, row.cols}, row.quantized});
      return;
    }
    for (const std::string& name : row.names) {
      tensors.push_back(tensor_of(row, expert_name(name, expert)));
    }
  });
  return tensors;
}

}  // namespace indexcache
