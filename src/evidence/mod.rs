//! What can be proven: the hash-chained log, its signed heads, signed reports, and their offline verification.
