//! Protects the promise: unmodified RocketMQ clients work. Runs the Java clients 5.5.0 and 4.9.8 and the Go client v2
//! (see `tests/clients/README.md`) against the built binary.
//!
//! Without a JDK, Maven or Go the tests say what to install and pass; with `RINGMQ_REQUIRE_CLIENTS` set they fail.
