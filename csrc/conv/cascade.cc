#include "conv/cascade.h"

#include <algorithm>

#include "conv/jobs.h"

namespace resfuse {
namespace {

// What lies between the parts of a band: half of an L2 of 1 MiB.
constexpr int64_t kBetweenFloats = 128 << 10;
constexpr double kFloatBytes = sizeof(float);
// Where each part is a call of its own, threads wait for the slowest, begin anew, and find only a
// share of what they read in their L2: about 12 us, in multiply-adds.
constexpr double kQueueWork = 1e6;

int64_t row_floats(const Conv& conv) { return conv.w.out * conv.out_c; }

// The rows that outputs meet, but for padding.
Rows rows_met(const Side& h, Rows outputs) {
  const int64_t first = outputs.first * h.stride - h.pad;
  const int64_t last = (outputs.last - 1) * h.stride - h.pad + h.extent();
  return {std::max<int64_t>(first, 0), std::min(last, h.in)};
}

bool meets_rows(const Side& h) {
  return h.out > 0 && h.extent() > h.pad && (h.out - 1) * h.stride - h.pad < h.in;
}

// A dilated image has phases, and a dilated window may have regions: other calls than a band's.
bool can_be_part(const Conv& conv) {
  const bool dilates = std::max({conv.h.image_dilation, conv.w.image_dilation,
                                 conv.h.window_dilation, conv.w.window_dilation}) > 1;
  return conv.d.is_identity() && conv.d.in == 1 && !dilates && meets_rows(conv.h) && conv.w.out > 0;
}

bool reads(const Conv& next, const Conv& conv) {
  return next.batch == conv.batch && next.in_c == conv.out_c && next.h.in == conv.h.out &&
         next.w.in == conv.w.out;
}

// What the buffers hold for a band of so many rows, at most.
int64_t between_floats(const std::vector<Conv>& parts, int64_t rows) {
  int64_t floats = 0;
  for (size_t part = parts.size() - 1; part > 0; --part) {
    const Side& h = parts[part].h;
    rows = std::min(h.in, (rows - 1) * h.stride + h.extent());
    floats += rows * row_floats(parts[part - 1]);
  }
  return floats;
}

// The convolution that makes these rows alone, of one image or of several whole ones.
Conv band_of(const Conv& conv, int64_t images, Rows read, Rows made) {
  Conv band = conv;
  band.batch = images;
  band.h.in = read.count(), band.h.out = made.count();
  band.h.pad = read.first + conv.h.pad - made.first * conv.h.stride;
  return band;
}

// Lays out the steps of one unit after the other.
class Planner {
 public:
  Planner(const std::vector<Conv>& parts, TileShape tile, const Machine& machine, CascadePlan& plan)
      : parts_(parts), tile_(tile), machine_(machine), plan_(plan) {
    plan_.buffer_floats.assign(parts.size() - 1, 0);
  }

  // A unit of these rows of the last output, in bands of so many.
  void add_unit(Rows rows, int64_t band) {
    plan_.units.emplace_back();
    done_.assign(parts_.size(), 0);
    for (int64_t first = rows.first; first < rows.last; first += band)
      add_band({first, std::min(first + band, rows.last)});
  }

 private:
  void add_band(Rows rows) {
    std::vector<Step> steps;
    for (size_t part = parts_.size(); part-- > 0;) {
      const Side& h = parts_[part].h;
      const bool is_last = part + 1 == parts_.size();
      const Rows made{std::max(rows.first, done_[part]), rows.last};
      // Several images are whole, and so is what is between them.
      const Rows read = plan_.images > 1 ? Rows{0, h.in} : rows_met(h, made);
      if (made.count() <= 0) break;
      steps.push_back({part, 0, read, made, is_last ? Rows{0, h.out} : rows});
      done_[part] = made.last;
      rows = read;
    }
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) add_step(*step);
  }

  void add_step(Step step) {
    const Conv& conv = parts_[step.part];
    step.band = band_at(step.part, band_of(conv, plan_.images, step.read, step.made));
    plan_.units.back().push_back(step);
    if (step.part + 1 == parts_.size()) return;
    int64_t& floats = plan_.buffer_floats[step.part];
    floats = std::max(floats, plan_.images * step.held.count() * row_floats(conv));
  }

  size_t band_at(size_t part, const Conv& conv) {
    const auto is_same = [&](const Band& band) {
      const Side &h = band.phase.conv.h, &other = conv.h;
      return band.part == part && h.in == other.in && h.out == other.out && h.pad == other.pad;
    };
    auto& bands = plan_.bands;
    const auto found = std::find_if(bands.begin(), bands.end(), is_same);
    const auto index = static_cast<size_t>(found - bands.begin());
    if (found == bands.end())
      bands.push_back({part, plan_phase(phases(conv, false).front(), tile_, machine_,
                                        {Choice::kDirect, true, false, 1})});
    return index;
  }

  const std::vector<Conv>& parts_;
  const TileShape tile_;
  const Machine& machine_;
  CascadePlan& plan_;
  std::vector<int64_t> done_;  // the end of the rows that each part has computed in this unit
};

// The largest divisor of `whole` up to `most`.
int64_t divisor(int64_t whole, int64_t most) {
  int64_t size = std::clamp<int64_t>(most, 1, std::max<int64_t>(whole, 1));
  while (whole % size != 0) --size;
  return size;
}

double work_of(const std::vector<Conv>& parts) {
  double work = 0.0;
  for (const Conv& conv : parts) work += multiply_adds(conv);
  return work;
}

// At least so many units, if there are as many rows.
CascadePlan cut_cascade(const std::vector<Conv>& parts, TileShape tile, const Machine& machine,
                        int64_t wanted) {
  CascadePlan plan{};
  const int64_t batch = parts.front().batch, rows = parts.back().h.out;
  const int64_t room = share_of_l2(machine, kBetweenFloats);
  plan.images = divisor(batch, std::min(room / between_floats(parts, rows), batch / wanted));
  plan.groups = batch / plan.images;
  const int64_t cuts = std::min(rows, ceil_div(wanted, std::max<int64_t>(1, plan.groups)));
  const int64_t unit = ceil_div(rows, cuts);
  int64_t band = unit;
  while (band > 1 && plan.images * between_floats(parts, band) > room) --band;
  band = ceil_div(unit, ceil_div(unit, band));
  Planner planner(parts, tile, machine, plan);
  for (int64_t first = 0; first < rows; first += unit)
    planner.add_unit({first, std::min(first + unit, rows)}, band);
  return plan;
}

// The multiply-adds of a unit, of which its neighbours compute some as well.
double work_of(const CascadePlan& plan, const std::vector<Step>& unit) {
  double work = 0.0;
  for (const Step& step : unit) work += multiply_adds(plan.bands[step.band].phase.conv);
  return work;
}

// And of the thread whose share of the units has most.
double most_work(const CascadePlan& plan) {
  double most = 0.0;
  for (int64_t thread = 0; thread < plan.threads; ++thread) {
    const int64_t last = plan.all_units() * (thread + 1) / plan.threads;
    double work = 0.0;
    for (int64_t unit = plan.all_units() * thread / plan.threads; unit < last; ++unit)
      work += work_of(plan, plan.units[static_cast<size_t>(unit) % plan.units.size()]);
    most = std::max(most, work);
  }
  return most;
}

// Bytes between a thread's L2 and what lies behind it, where each part is a call of its own: those
// that find no room are written and read; of others a thread reads what another one wrote.
double bytes_apart(const std::vector<Conv>& parts, const Machine& machine, int64_t threads) {
  double bytes = 0.0;
  for (size_t part = 0; part + 1 < parts.size(); ++part) {
    const double all = kFloatBytes * static_cast<double>(parts[part].batch * parts[part].h.out) *
                       static_cast<double>(row_floats(parts[part]));
    const auto count = static_cast<double>(threads);
    const bool stays = all / count <= static_cast<double>(machine.l2) / 2;
    bytes += stays ? all * (count - 1) / count : 2 * all;
  }
  return bytes;
}

// And where they are a cascade: all threads read all weights, and read them again for each band
// that leaves them no room.
double bytes_together(const std::vector<Conv>& parts, const CascadePlan& plan,
                      const Machine& machine) {
  double weights = 0.0, between = 0.0, bands = 0.0;
  for (const Conv& conv : parts)
    weights += kFloatBytes * static_cast<double>(conv.reduction() * conv.out_c);
  for (const int64_t floats : plan.buffer_floats)
    between += kFloatBytes * static_cast<double>(floats);
  for (const std::vector<Step>& unit : plan.units)
    for (const Step& step : unit) bands += step.part + 1 == parts.size();
  const bool stay = weights + between <= static_cast<double>(machine.l2);
  const auto threads = static_cast<double>(plan.threads);
  return weights * ((stay ? threads : bands * static_cast<double>(plan.groups)) - 1);
}

// The time of the slowest thread, in multiply-adds, each part being a call of its own; and
// together.
double work_apart(const std::vector<Conv>& parts, const Machine& machine, int64_t threads) {
  const double bytes = bytes_apart(parts, machine, threads);
  const double queues = threads == 1 ? 0.0 : kQueueWork * static_cast<double>(parts.size() - 1);
  return (work_of(parts) + kFloatWork / kFloatBytes * bytes) / static_cast<double>(threads) +
         queues;
}

double work_together(const std::vector<Conv>& parts, const CascadePlan& plan,
                     const Machine& machine) {
  const double bytes = bytes_together(parts, plan, machine);
  return most_work(plan) + kFloatWork / kFloatBytes * bytes / static_cast<double>(plan.threads);
}

}  // namespace

bool is_cascade(const std::vector<Conv>& parts) {
  for (size_t part = 0; part < parts.size(); ++part)
    if (!can_be_part(parts[part]) || (part > 0 && !reads(parts[part], parts[part - 1])))
      return false;
  return true;
}

CascadePlan plan_cascade(const std::vector<Conv>& parts, TileShape tile, const Machine& machine,
                         int64_t max_threads) {
  const int64_t threads = useful_threads(work_of(parts), max_threads);
  // Of twice as many units threads may have more even shares, but they compute more twice.
  CascadePlan best{};
  double least = work_apart(parts, machine, threads);
  for (const int64_t wanted : {threads, 2 * threads}) {
    CascadePlan plan = cut_cascade(parts, tile, machine, wanted);
    plan.threads = std::clamp<int64_t>(plan.all_units(), 1, threads);
    const double together = work_together(parts, plan, machine);
    if (together >= least) continue;
    least = together;
    best = std::move(plan);
    best.pays = true;
  }
  return best;
}

}  // namespace resfuse
