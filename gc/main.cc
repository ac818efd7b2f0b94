// Wires the command line to the verbs; everything else is in command.h.
#include "gc/verbs/command.h"

#include <string>
#include <vector>

int main(int argc, char** argv) {
    return static_cast<int>(coppice::run_command_line({argv + (argc > 0 ? 1 : 0), argv + argc}));
}
