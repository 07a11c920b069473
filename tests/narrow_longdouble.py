"""A plugin of pytest, `-p tests.narrow_longdouble`: longdouble is float64, as on Apple silicon and Windows.

What is simulated is NumPy's name, by which softgrad and its tests find the type; the kernels have no long double.
"""

import numpy as np

np.longdouble = np.float64
