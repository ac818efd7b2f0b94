#include "format/vhd/image.h"
#include "format/vhd/check.h"
