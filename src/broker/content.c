/* Field tables and properties: see content.h. */
#include "broker/content.h"
