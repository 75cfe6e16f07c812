//! Whether a half message waits, is asked about or is given up, and how it ends: on made-up records and times.
