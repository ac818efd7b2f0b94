#include "format/qcow2/image.h"
#include "format/qcow2/check.h"
