"""The same functions on NumPy arrays: native kernels, threads, formulas where there is no kernel."""
