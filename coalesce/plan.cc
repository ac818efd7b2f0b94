#include "coalesce/plan.h"
