// The code of a program as a call states it, before its registers have slots.

#pragma once

#include <vector>

#include "conv/program.h"
#include "ffi/call.h"

namespace resfuse {

struct Code {
  struct Line {
    int operation;
    std::vector<int> taken;
    std::vector<int> factors = {};
    bool is_absorbed = false;  // by a later line

    std::vector<int> all_taken() const {
      std::vector<int> all = taken;
      all.insert(all.end(), factors.begin(), factors.end());
      return all;
    }
  };
  int operands, constants;
  std::vector<Line> lines;
  std::vector<int> outputs;

  int first_result() const { return 1 + operands + constants; }
  int registers() const { return first_result() + static_cast<int>(lines.size()); }
  bool is_constant(int index) const { return index > operands && index < first_result(); }
};

// Takes the attributes `code` and `returned`.
Code read_code(Call& call, int operands, int constants);

bool is_operation(const Code::Line& line, const char* name);

// Makes one line of two where one pass over the tile can do both.
void absorb_lines(Code& code);

}  // namespace resfuse
