#include "coalesce/layer_facts.h"
