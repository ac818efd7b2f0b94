#include "format/base/load.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace coppice {
namespace {

// The grain in which zeroes are looked for: smaller stretches cannot become holes on any file system in use.
constexpr std::size_t hole_grain = 4096;
// What is read in vain costs less than a request of its own.
constexpr Bytes read_over = 16_KiB;
// Bounds what a load of very small parts costs besides its buffer.
constexpr std::size_t parts_at_most = 4 * most_parts;

} // namespace

bool all_zero(std::span<const std::byte> bytes) {
    if (bytes.empty()) return true;
    return bytes.front() == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

void Load::Free::operator()(std::byte* memory) const {
    std::free(memory); // NOLINT(cppcoreguidelines-no-malloc): of aligned_alloc
}

Load::Load(Bytes size) : size_{round_up(size, Bytes{hole_grain})} {}

Bytes Load::room() const {
    return parts_.size() >= parts_at_most ? 0_B : size_ - Bytes{used_};
}

Load::Part& Load::add(Kind kind, Bytes target, Bytes length) {
    if (!buffer_) {
        buffer_.reset(static_cast<std::byte*>(std::aligned_alloc(hole_grain, size_.count())));
        if (!buffer_) throw std::bad_alloc{};
    }
    parts_.push_back({kind, used_, length.count(), target, nullptr, 0_B});
    used_ += length.count();
    return parts_.back();
}

void Load::add_read(const BlockDevice& source, Bytes source_offset, Bytes target, Bytes length) {
    if (!parts_.empty()) {
        Part& last = parts_.back();
        if (last.source == &source && last.target_end() == target &&
            last.source_offset + Bytes{last.length} == source_offset) {
            last.length += length.count();
            used_ += length.count();
            return;
        }
    }
    Part& part = add(Kind::read, target, length);
    part.source = &source;
    part.source_offset = source_offset;
}

void Load::add_memory(std::span<const std::byte> memory, Bytes target) {
    const Part& part = add(Kind::memory, target, Bytes{memory.size()});
    std::memcpy(data() + part.begin, memory.data(), memory.size());
}

void Load::add_zeros(Bytes target, Bytes length) {
    const Part& part = add(Kind::zeros, target, length);
    std::memset(data() + part.begin, 0, part.length);
}

void Load::add_filler(Bytes target, Bytes length) {
    const Part& part = add(Kind::filler, target, length);
    std::memset(data() + part.begin, 0, part.length);
}

std::optional<ByteRange> Load::targets() const {
    if (parts_.empty()) return std::nullopt;
    return ByteRange{parts_.front().target, parts_.back().target_end()};
}

void Load::clear() {
    parts_.clear();
    skipped_.clear();
    used_ = 0;
}

std::vector<IoJob> Load::reads() {
    std::vector<const Part*> order;
    for (const Part& part : parts_)
        if (part.kind == Kind::read) order.push_back(&part);
    std::ranges::sort(order, [](const Part* a, const Part* b) {
        return a->source != b->source ? std::less<>{}(a->source, b->source) : a->source_offset < b->source_offset;
    });
    std::vector<IoJob> jobs;
    Bytes end;
    std::size_t skipping = 0; // the job that the last of skipped_ belongs to, counted from one
    for (const Part* part : order) {
        const bool near = !jobs.empty() && jobs.back().source == part->source && part->source_offset >= end &&
                          part->source_offset - end <= read_over && jobs.back().parts.size() + 2 <= most_parts;
        if (!near) {
            jobs.emplace_back();
            jobs.back().source = part->source;
            jobs.back().offset = part->source_offset;
        } else if (part->source_offset > end) {
            // Of each request its own: they are in flight at the same time.
            if (std::exchange(skipping, jobs.size()) != jobs.size()) skipped_.emplace_back(read_over.count());
            jobs.back().parts.push_back({skipped_.back().data(), (part->source_offset - end).count()});
        }
        jobs.back().parts.push_back({data() + part->begin, part->length});
        end = part->source_offset + Bytes{part->length};
    }
    return jobs;
}

Load::Writes Load::writes(BlockDevice& target) {
    Writes result;
    for (auto first = parts_.cbegin(); first != parts_.cend();) {
        auto last = std::next(first);
        while (last != parts_.cend() && std::prev(last)->target_end() == last->target)
            ++last;
        add_run(result, target, {first, last});
        first = last;
    }
    return result;
}

/// `begin` and `end` are places in the buffer; `first` is the part that the run begins with.
void Load::add_data(Writes& writes, BlockDevice& target, const Part& first, std::size_t begin, std::size_t end) const {
    if (begin == end) return;
    IoJob& job = writes.data.emplace_back();
    job.target = &target;
    job.offset = first.target + Bytes{begin - first.begin};
    job.parts.push_back({data() + begin, end - begin});
}

void Load::add_run(Writes& writes, BlockDevice& target, std::span<const Part> run) const {
    const Part& first = run.front();
    const std::size_t end = run.back().begin + run.back().length;
    if (target.fixed_size()) { // has no holes
        add_data(writes, target, first, first.begin, end);
        return;
    }
    const auto in_target = [&](std::size_t at) { return first.target + Bytes{at - first.begin}; };
    std::size_t data_begin = first.begin; // of what is going to be one request
    std::size_t data_end = first.begin;
    for (std::size_t at = first.begin; at < end;) {
        // Grains are aligned in the target, where the holes are to be.
        std::size_t stop = at;
        const auto next_grain = [&] {
            return std::min(end, stop + hole_grain - (in_target(stop).count() % hole_grain));
        };
        const bool zero = all_zero({data() + at, next_grain() - at});
        while (stop < end && all_zero({data() + stop, next_grain() - stop}) == zero)
            stop = next_grain();
        if (!zero) {
            data_end = stop;
        } else {
            while (!run.empty() && run.front().begin + run.front().length <= at)
                run = run.subspan(1);
            bool ours = true;
            for (const Part& part : run) {
                if (part.begin >= stop) break;
                ours = ours && part.kind == Kind::filler;
            }
            // Without data before it there is nothing that it could join; data behind it joins by leaving data_end.
            if (ours && data_begin == data_end) data_begin = data_end = stop;
            if (!ours && stop - at < hole_grain) {
                data_end = stop; // no hole comes of it
            } else if (!ours) {
                add_data(writes, target, first, data_begin, data_end);
                writes.zeros.push_back({in_target(at), in_target(stop)});
                data_begin = data_end = stop;
            }
        }
        at = stop;
    }
    add_data(writes, target, first, data_begin, data_end);
}

} // namespace coppice
