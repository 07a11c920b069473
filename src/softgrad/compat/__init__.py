"""Other libraries' functions under their own names and signatures, computed by softgrad."""
