//! Bad input gets a sentence that names the thing, and the right exit code.
