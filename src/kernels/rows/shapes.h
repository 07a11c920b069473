// The shapes in which kernels see rows: one contiguous row, and a panel of WIDTH short rows, one per lane; and, for
// kernels that care, a few rows that keep step.
//
// A kernel is written once over vectors. In a row a vector holds neighbouring entries, and what belongs to the row is
// the same in every lane; in a panel vector j holds entry j of each row, and nothing is ever added across lanes. Rows
// that keep step are rows along their entries, and a panel in what belongs to them.
#pragma once

#include "rows/lane_batch.h"
#include "rows/lockstep.h"
