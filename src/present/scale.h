// SPDX-License-Identifier: Apache-2.0
// Data to drawing: linear scales with round ticks, and a frame with axes.
#pragma once

#include "core/layer_numbers.h"
#include "present/canvas.h"

#include <string>
#include <vector>

namespace indexcache {

// Round numbers (1, 2, 5 times a power of ten) from `low` to `high`, about `count` of them.
std::vector<double> round_ticks(double low, double high, std::size_t count);

// As many decimals as the distance of the ticks needs: "0.02".
std::string tick_text(double tick, const std::vector<double>& ticks);

// Where an axis begins: at zero, though values dip below it by less than a thirtieth of the height,
// which would otherwise cost a tick's room.
double axis_low(double low, double high);

// A range of data on a range of the drawing; widened to round ticks.
class Scale {
 public:
  Scale(double low, double high, double from, double to, std::size_t ticks);

  double at(double value) const;
  const std::vector<double>& ticks() const { return ticks_; }

 private:
  double low_;
  double high_;
  double from_;
  double to_;
  std::vector<double> ticks_;
};

// The area of a chart between its axes, in units of the drawing.
struct Plot {
  double left;
  double top;
  double right;
  double bottom;
};

// Grid lines, tick labels and the axis' name on the left.
void draw_value_axis(Canvas& canvas, const Plot& plot, const Scale& scale, const std::string& name);

// Tick labels and the axis' name below; `labels` are put at `positions`.
void draw_category_axis(Canvas& canvas, const Plot& plot, const std::vector<double>& positions,
                        const std::vector<std::string>& labels, const std::string& name);

// Layers 0 to n - 1 in slots between left and right: where each center lies, and every how many
// layers a label fits.
struct LayerSlots {
  LayerSlots(const Plot& plot, std::size_t layers);
  double center(std::size_t layer) const {
    return left + (static_cast<double>(layer) + 0.5) * width;
  }
  double left;
  double width;
  std::size_t label_step;
};

// Labels are the numbers of layers; `layers` are the letters of a pattern.
void draw_layer_axis(Canvas& canvas, const Plot& plot, std::size_t layers, const std::string& name,
                     const LayerNumbers& numbers = {});

// Axes of a square matrix of layers: rows from top to bottom, columns from left to right.
void draw_matrix_axes(Canvas& canvas, const Plot& plot, std::size_t layers, const std::string& rows,
                      const std::string& columns, const LayerNumbers& numbers = {});

}  // namespace indexcache
