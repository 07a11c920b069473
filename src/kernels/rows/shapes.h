// The shapes in which kernels see rows: one contiguous row, and a lane batch of WIDTH short rows, one per lane; and,
// for kernels that gain from it, a lockstep batch of a few rows.
//
// A kernel is written once over vectors. In a row a vector holds neighbouring entries, and what belongs to the row is
// the same in every lane; in a lane batch vector j holds entry j of each row, and nothing is ever added across lanes. A
// lockstep batch is rows along the entries, and a lane batch in what belongs to a row.
#pragma once

#include "rows/lane_batch.h"
#include "rows/lockstep.h"
