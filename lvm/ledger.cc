#include "lvm/ledger.h"

#include "format/base/error.h"

#include <stdexcept>
#include <utility>

namespace coppice::lvm {

Reservation::Reservation(Reservation&& other) noexcept
    : ledger_{std::exchange(other.ledger_, nullptr)}, number_{other.number_} {}

Reservation::~Reservation() {
    if (ledger_ == nullptr) return;
    const std::scoped_lock lock{ledger_->mutex_};
    ledger_->entries_.erase(number_);
}

Extents Reservation::held() const {
    const std::scoped_lock lock{ledger_->mutex_};
    return ledger_->entries_.at(number_).extents;
}

void Reservation::grow(Extents more) {
    const std::scoped_lock lock{ledger_->mutex_};
    Ledger::Entry& entry = ledger_->entries_.at(number_);
    ledger_->require(entry.operation, more);
    entry.extents += more;
}

void Reservation::shrink(Extents less) {
    const std::scoped_lock lock{ledger_->mutex_};
    Ledger::Entry& entry = ledger_->entries_.at(number_);
    if (less > entry.extents) throw std::logic_error{entry.operation + " returns more than it holds"};
    entry.extents -= less;
}

void Reservation::spend(Extents extents) {
    const std::scoped_lock lock{ledger_->mutex_};
    Ledger::Entry& entry = ledger_->entries_.at(number_);
    if (extents > entry.extents) throw std::logic_error{entry.operation + " spends more than it holds"};
    if (extents > ledger_->free_) throw std::logic_error{entry.operation + " has taken more than the group had"};
    entry.extents -= extents;
    ledger_->free_ -= extents;
}

void Reservation::take_back(Extents extents) {
    const std::scoped_lock lock{ledger_->mutex_};
    Ledger::Entry& entry = ledger_->entries_.at(number_);
    const Extents held = entry.extents + extents; // both sums are checked before anything changes
    ledger_->free_ += extents;
    entry.extents = held;
}

Reservation Reservation::hand_over(const std::string& operation) {
    const std::scoped_lock lock{ledger_->mutex_};
    const std::uint64_t number = ledger_->next_++;
    Ledger::Entry& entry = ledger_->entries_.at(number_);
    ledger_->entries_.emplace(number, Ledger::Entry{operation, Ledger::Kind::running, entry.extents});
    entry.extents = Extents{0};
    return {*ledger_, number};
}

Ledger::Ledger(Extents free, Bytes extent) : extent_{extent}, free_{free} {}

Reservation Ledger::reserve(const std::string& operation, Extents need) {
    return add(operation, Kind::running, need);
}

Reservation Ledger::promise(const std::string& operation, Extents need) {
    return add(operation, Kind::promise, need);
}

Reservation Ledger::add(const std::string& operation, Kind kind, Extents need) {
    const std::scoped_lock lock{mutex_};
    require(operation, need);
    const std::uint64_t number = next_++;
    entries_.emplace(number, Entry{operation, kind, need});
    return {*this, number};
}

void Ledger::give_back(Extents extents) {
    const std::scoped_lock lock{mutex_};
    free_ += extents;
}

void Ledger::observe(Extents free) {
    const std::scoped_lock lock{mutex_};
    free_ = free;
}

Extents Ledger::free() const {
    const std::scoped_lock lock{mutex_};
    return free_;
}

Extents Ledger::reserved() const {
    const std::scoped_lock lock{mutex_};
    return sum(Kind::running);
}

Extents Ledger::promised() const {
    const std::scoped_lock lock{mutex_};
    return sum(Kind::promise);
}

Extents Ledger::available() const {
    const std::scoped_lock lock{mutex_};
    return left();
}

Extents Ledger::shortfall() const {
    const std::scoped_lock lock{mutex_};
    const Extents taken = sum(Kind::running) + sum(Kind::promise);
    return taken > free_ ? taken - free_ : Extents{0};
}

std::vector<Ledger::Entry> Ledger::entries() const {
    const std::scoped_lock lock{mutex_};
    std::vector<Entry> result;
    for (const auto& [number, entry] : entries_)
        result.push_back(entry);
    return result;
}

Extents Ledger::sum(Kind kind) const {
    Extents total;
    for (const auto& [number, entry] : entries_)
        if (entry.kind == kind) total += entry.extents;
    return total;
}

Extents Ledger::left() const {
    const Extents taken = sum(Kind::running) + sum(Kind::promise);
    return free_ > taken ? free_ - taken : Extents{0};
}

void Ledger::require(const std::string& operation, Extents need) const {
    const Extents available = left();
    if (need <= available) return;
    const auto text = [&](Extents extents) {
        const std::string count = std::to_string(extents.count()) + " extents";
        if (extents.count() > ~std::uint64_t{0} / extent_.count()) return count; // nobody means that
        return count + " (" + std::to_string((extent_ * extents.count()).count()) + " bytes)";
    };
    throw Refused{"no-space", operation,
                  "needs " + text(need) + ", free are " + text(available) + ": the volume group has " +
                      std::to_string(free_.count()) + ", of which " + std::to_string(sum(Kind::running).count()) +
                      " are reserved and " + std::to_string(sum(Kind::promise).count()) + " promised"};
}

} // namespace coppice::lvm
