"""Arguments, checked once: below the public functions every one is clean."""
